"""Local training of one speaker at a time, in a process of its own."""
