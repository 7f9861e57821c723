"""`murmur paper small`: the paper's experiments at the size of two cores, and the book of their results."""
