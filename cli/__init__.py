"""`murmur`: the commands a person types."""
