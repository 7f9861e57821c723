"""`murmur evaluate`."""
