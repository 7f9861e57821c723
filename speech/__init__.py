"""What is learnt: corpora, features, text, model, augmentation, decoding, metrics.

Knows nothing of Flower and nothing of privacy; anyone can use it for central training alone.
"""
