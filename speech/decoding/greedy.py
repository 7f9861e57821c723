"""Greedy CTC decoding, without a language model."""

from collections.abc import Iterable
from itertools import groupby

from torch import Tensor

from speech.text import Alphabet


def greedy(log_probs: Tensor, lengths: Tensor, alphabet: Alphabet) -> list[str]:
    """Return the texts of log-probabilities (B, T', outputs) with `lengths` (B,) frames each.

    It takes the best symbol of every frame, collapses runs, drops blanks, and strips spaces at the ends.
    """
    best = log_probs.argmax(-1).tolist()
    return [collapse(row[:length], alphabet) for row, length in zip(best, lengths.tolist(), strict=True)]


def collapse(path: Iterable[int], alphabet: Alphabet) -> str:
    """Return the text of one symbol a frame: a run is one character, a blank none; spaces are single."""
    text = alphabet.decode(symbol for symbol, _ in groupby(path) if symbol != alphabet.blank)
    return " ".join(text.split())
