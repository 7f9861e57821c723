"""`murmur run`."""
