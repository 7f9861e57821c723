"""Transcripts in the paper's 29 characters: a-z, space, apostrophe, hyphen (arXiv 2310.00098).

A model emits `NUM_OUTPUTS` symbols: the alphabet, in this order, and the CTC blank, which is last.
"""

import re
import unicodedata
from collections.abc import Iterable

ALPHABET = "abcdefghijklmnopqrstuvwxyz '-"
BLANK = len(ALPHABET)
NUM_OUTPUTS = len(ALPHABET) + 1

_INDEX = {character: index for index, character in enumerate(ALPHABET)}
# What Unicode does not decompose by itself, and the many shapes of apostrophe and hyphen.
_EQUIVALENTS = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201b\u02bc\u0060\u00b4\uff07", "'"),
        **dict.fromkeys("\u2010\u2011\ufe63\uff0d", "-"),
        "\u00ad": "",
        "æ": "ae",
        "œ": "oe",
        "ø": "o",
        "đ": "d",
        "ð": "d",
        "ł": "l",
        "þ": "th",
        "ß": "ss",
        "ı": "i",
    }
)
_OUTSIDE = re.compile(r"[^a-z'\-]+")


def normalise(text: str) -> str:
    """Lower-case ASCII words of the alphabet, single spaces; idempotent.

    Accents are stripped, punctuation other than - and ' parts words, and a word with no letter is
    dropped. Digits and letters of other scripts are lost: `unspelled` tells which.
    """
    words = _OUTSIDE.sub(" ", _ascii(text)).split()
    return " ".join(word for word in words if word.strip("'-"))


def unspelled(text: str) -> str:
    """The digits and letters of `text` that `normalise` would lose, once each, in order.

    A transcript with any is not what was said, and is no example to learn from.
    """
    lost = (c for c in _ascii(text) if unicodedata.category(c)[0] in "LN" and c not in _INDEX)
    return "".join(dict.fromkeys(lost))


def encode(text: str) -> list[int]:
    """Indices of a normalised text. Raises `ValueError` for a character outside the alphabet."""
    try:
        return [_INDEX[character] for character in text]
    except KeyError as error:
        raise ValueError(
            f"character {error} of {text!r} is not in the alphabet; pass the text through normalise() first."
        ) from None


def decode(ids: Iterable[int]) -> str:
    """The text of indices 0 to 28. Raises `ValueError` for any other, the blank included."""
    indices = list(ids)
    wrong = [index for index in indices if not 0 <= index < len(ALPHABET)]
    if wrong:
        raise ValueError(f"{wrong[0]} is not the index of a character (0 to {BLANK - 1}).")
    return "".join(ALPHABET[index] for index in indices)


def _ascii(text: str) -> str:
    """Lower case, equivalents replaced, accents stripped; other characters stay."""
    plain = unicodedata.normalize("NFKD", text.lower().translate(_EQUIVALENTS))
    plain = plain.lower().translate(_EQUIVALENTS)
    return "".join(c for c in plain if not unicodedata.combining(c))
