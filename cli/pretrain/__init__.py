"""`murmur pretrain`."""
