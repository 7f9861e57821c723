"""From log-probabilities to words: greedy or beam search with a language model; word times and confidence."""

from speech.decoding.arpa import Unit
from speech.decoding.beam import BeamConfig, BeamSearch
from speech.decoding.forced_alignment import Word, align_symbols, align_words
from speech.decoding.greedy import greedy
from speech.decoding.ngram import MAX_ORDER, MIN_ORDER, train_ngram

__all__ = [
    "MAX_ORDER",
    "MIN_ORDER",
    "BeamConfig",
    "BeamSearch",
    "Unit",
    "Word",
    "align_symbols",
    "align_words",
    "greedy",
    "train_ngram",
]
