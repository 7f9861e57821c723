"""Speech recognition: corpora, features, text, models, training, decoding, evaluation.

This room imports neither Flower nor anything of privacy: it can be used alone, for central training.
"""
