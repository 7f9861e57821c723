"""Transcripts in the characters of a language: those of the paper (arXiv 2310.00098, App. F).

English has 29: a-z, space, apostrophe, hyphen. German adds ä ö ü ß, French its 16 accented letters and
ligatures; what is added stands last, so that the indices of the 29 are the same in all of them. A model
emits `num_outputs` symbols: the characters, in this order, and the CTC blank, which is the last.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

_BASE = "abcdefghijklmnopqrstuvwxyz '-"
# What Unicode does not decompose by itself, the many shapes of apostrophe and hyphen, and what
# stands invisibly inside words (Common Voice has all of it).
_EQUIVALENTS = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201b\u02bc\u0060\u00b4\uff07", "'"),
        **dict.fromkeys("\u2010\u2011\ufe63\uff0d", "-"),
        **dict.fromkeys("\u00ad\u200c\u200d\u200e\u200f\u2060\ufeff", ""),
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
# German closes its inner quotation with the sign that English opens it with.
_GERMAN_INNER_QUOTE = re.compile(r"\u2018(?!\w)|(?<!\w)\u2018")


@dataclass(frozen=True)
class Alphabet:
    """The `characters` in which a `language` is written and read."""

    language: str
    characters: str

    @property
    def blank(self) -> int:
        """The index of the CTC blank."""
        return len(self.characters)

    @property
    def num_outputs(self) -> int:
        """What a model emits: the characters and the blank."""
        return len(self.characters) + 1

    def normalise(self, text: str) -> str:
        """Lower-case words of these characters, single spaces; idempotent.

        Letters with accents that the language does not have lose them, punctuation other than - and '
        parts words, and a word with no letter is dropped. Digits and letters of other scripts are lost:
        `unspelled` tells which.
        """
        words = self._outside.sub(" ", self._folded(text)).split()
        return " ".join(word for word in words if word.strip("'-"))

    def unspelled(self, text: str) -> str:
        """The digits and letters of `text` that `normalise` would lose, once each, in order.

        A transcript with any is not what was said.
        """
        folded = self._folded(text)
        lost = (c for c in folded if unicodedata.category(c)[0] in "LN" and c not in self._index)
        return "".join(dict.fromkeys(lost))

    def encode(self, text: str) -> list[int]:
        """Indices of a normalised text. Raises `ValueError` for a character outside the alphabet."""
        try:
            return [self._index[character] for character in text]
        except KeyError as error:
            raise ValueError(
                f"character {error} of {text!r} is not in the alphabet of {self.language!r}; "
                "pass the text through normalise() first."
            ) from None

    def decode(self, ids: Iterable[int]) -> str:
        """The text of indices below `blank`. Raises `ValueError` for any other, the blank included."""
        indices = list(ids)
        wrong = [index for index in indices if not 0 <= index < self.blank]
        if wrong:
            raise ValueError(f"{wrong[0]} is not the index of a character (0 to {self.blank - 1}).")
        return "".join(self.characters[index] for index in indices)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {character: index for index, character in enumerate(self.characters)}

    @cached_property
    def _outside(self) -> re.Pattern[str]:
        return re.compile(f"[^{re.escape(self.characters.replace(' ', ''))}]+")

    @cached_property
    def _not_its_own(self) -> re.Pattern[str]:
        """Runs of what is none of the letters that this language adds to the 29."""
        return re.compile(f"[^{self.characters[len(_BASE) :]}]+")

    def _folded(self, text: str) -> str:
        """Lower case, equivalents replaced, foreign accents stripped; other characters stay."""
        if self.characters == _BASE:
            return _ascii(text)
        composed = unicodedata.normalize("NFC", text.lower())
        if self.language == "de":
            composed = _GERMAN_INNER_QUOTE.sub(" ", composed)
        return self._not_its_own.sub(lambda run: _ascii(run[0]), composed)


ALPHABETS = {
    language: Alphabet(language, _BASE + added)
    for language, added in {"en": "", "fr": "àâæçèéêëîïôœùûüÿ", "de": "äöüß"}.items()
}
ENGLISH = ALPHABETS["en"]


def alphabet_of(language: str) -> Alphabet:
    """The alphabet of a language. Raises `ValueError` for one that we have none of."""
    if language not in ALPHABETS:
        raise ValueError(f"language {language!r} is not known; known are {', '.join(ALPHABETS)}.")
    return ALPHABETS[language]


def _ascii(text: str) -> str:
    """Lower case, equivalents replaced, all accents stripped; other characters stay."""
    plain = unicodedata.normalize("NFKD", text.lower().translate(_EQUIVALENTS))
    plain = plain.lower().translate(_EQUIVALENTS)
    return "".join(c for c in plain if not unicodedata.combining(c))
