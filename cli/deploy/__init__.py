"""`murmur deploy` and `murmur doctor`."""
