"""`murmur corpus`."""
