"""`murmur model`: the store of pre-trained models."""
