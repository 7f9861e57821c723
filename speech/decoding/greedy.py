"""Greedy CTC decoding, without a language model."""

from collections.abc import Iterable
from itertools import groupby

from torch import Tensor

from speech.text import Alphabet


def greedy(log_probs: Tensor, lengths: Tensor, alphabet: Alphabet) -> list[str]:
    """Texts of log-probabilities (B, T', outputs) with `lengths` (B,) frames each.

    The best symbol of every frame, runs collapsed, blanks dropped, spaces at the ends stripped.
    """
    best = log_probs.argmax(-1).tolist()
    return [collapse(row[:length], alphabet) for row, length in zip(best, lengths.tolist(), strict=True)]


def collapse(path: Iterable[int], alphabet: Alphabet) -> str:
    """The text of one symbol a frame: runs are one character, blanks none, words parted by one space."""
    text = alphabet.decode(symbol for symbol, _ in groupby(path) if symbol != alphabet.blank)
    return " ".join(text.split())
