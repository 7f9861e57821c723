"""Alphabets: the characters of a language, and transcripts written in them.

The alphabets of this project are those of the paper (arXiv 2310.00098, App. F). English has 29 characters:
a-z, space, apostrophe, hyphen. German adds ä ö ü ß, French its 16 accented letters and ligatures. Added
characters stand last, so the first 29 have the same indices in all three. Any other language is its
characters: a team gives them in its recipe or in a file (`speech.alphabet_file`), or a package registers them
(`base.registries.LANGUAGES`).

A model has `num_outputs` outputs: the characters, in this order, and then the CTC blank.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from base.registries import LANGUAGES
from base.registry import UnknownName
from speech.errors import LanguageError

MOST_CHARACTERS = 10_000
_LANGUAGE = re.compile(r"[\w-]{1,35}")
_BASE = "abcdefghijklmnopqrstuvwxyz '-"
# Letters that Unicode does not decompose, the many shapes of apostrophe and hyphen, and invisible characters
# inside words. Common Voice has all of them.
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
# German closes an inner quotation with the sign that opens one in English.
_GERMAN_INNER_QUOTE = re.compile(r"\u2018(?!\w)|(?<!\w)\u2018")


class Tokeniser(Protocol):
    """Maps a normalised text to the indices that a model is trained on; an `Alphabet` is one.

    Example:
        >>> tokeniser: Tokeniser = ENGLISH
        >>> tokeniser.encode("ab a")
        [0, 1, 26, 0]
    """

    def encode(self, text: str) -> list[int]:
        """Return the indices of a text."""


@dataclass(frozen=True)
class Alphabet:
    """The characters of a language, in the order of a model's outputs.

    Args:
        language: The code of the language, such as "en".
        characters: Its characters, each once, in lower case, composed (Unicode NFC), with one space.

    Raises:
        LanguageError: For a code or characters that are not of this form.

    Example:
        >>> english = Alphabet("en", "abcdefghijklmnopqrstuvwxyz '-")
        >>> english.normalise("Don't stop, Zoë!"), english.unspelled("Room 12")
        ("don't stop zoe", '12')
        >>> english.encode("a b"), english.decode([0, 26, 1]), english.num_outputs
        ([0, 26, 1], 'a b', 30)
    """

    language: str
    characters: str

    def __post_init__(self) -> None:
        if not _LANGUAGE.fullmatch(self.language):
            raise LanguageError(
                f"language {self.language[:40]!r} must be a code of letters, digits and '-', such as 'sw'."
            )
        fault = _fault(self.characters)
        if fault:
            raise LanguageError(f"the characters of language {self.language!r}: {fault}.")

    @property
    def blank(self) -> int:
        """The index of the CTC blank."""
        return len(self.characters)

    @property
    def space(self) -> int:
        """The index of the space."""
        return self.characters.index(" ")

    @property
    def num_outputs(self) -> int:
        """The outputs of a model: the characters and the blank."""
        return len(self.characters) + 1

    def normalise(self, text: str) -> str:
        """Return the lower-case words of `text` in these characters, with single spaces. Idempotent.

        Letters with accents that the language does not have lose them. Punctuation other than - and '
        separates words. A word without a letter is dropped. Digits and letters of other scripts are lost:
        `unspelled` returns them.
        """
        words = self._outside.sub(" ", self._folded(text)).split()
        return " ".join(word for word in words if word.strip("'-"))

    def unspelled(self, text: str) -> str:
        """Return the digits and letters of `text` that `normalise` loses, each once, in order.

        A transcript that loses any no longer matches its audio.
        """
        folded = self._folded(text)
        lost = (c for c in folded if unicodedata.category(c)[0] in "LN" and c not in self._index)
        return "".join(dict.fromkeys(lost))

    def encode(self, text: str) -> list[int]:
        """Return the indices of a normalised text.

        Raises:
            ValueError: For a character outside the alphabet.
        """
        try:
            return [self._index[character] for character in text]
        except KeyError as error:
            raise ValueError(
                f"character {error} of {text!r} is not in the alphabet of {self.language!r}; "
                "pass the text through normalise() first."
            ) from None

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of indices below `blank`.

        Raises:
            ValueError: For any other index, the blank included.
        """
        indices = list(ids)
        wrong = [index for index in indices if not 0 <= index < self.blank]
        if wrong:
            raise ValueError(f"{wrong[0]} is not the index of a character (0 to {self.blank - 1}).")
        return "".join(self.characters[index] for index in indices)

    def difference(self, other: "Alphabet") -> str:
        """Describe which characters `other` lacks and which it has beside ours; empty if they are the same.

        Example:
            >>> GERMAN.difference(ENGLISH)
            "lacks 'ä', 'ö', 'ü', 'ß'"
        """
        lacking = [character for character in self.characters if character not in other._index]
        beside = [character for character in other.characters if character not in self._index]
        parts = [
            f"{verb} {', '.join(map(repr, found))}"
            for verb, found in (("lacks", lacking), ("has in addition", beside))
            if found
        ]
        if not parts and self.characters != other.characters:
            return "has the same characters in another order"
        return " and ".join(parts)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {character: index for index, character in enumerate(self.characters)}

    @cached_property
    def _outside(self) -> re.Pattern[str]:
        return re.compile(f"[^{re.escape(self.characters.replace(' ', ''))}]+")

    @cached_property
    def _not_its_own(self) -> re.Pattern[str]:
        """Runs of characters that are none of the letters beyond the 29 of English."""
        return re.compile(f"[^{re.escape(self._own)}]+")

    @cached_property
    def _own(self) -> str:
        return "".join(character for character in self.characters if character not in _BASE)

    def _folded(self, text: str) -> str:
        """Lower the case, replace equivalents, strip foreign accents; keep other characters."""
        if not self._own:
            return _ascii(text)
        composed = unicodedata.normalize("NFC", text.lower())
        if self.language == "de":
            composed = _GERMAN_INNER_QUOTE.sub(" ", composed)
        return self._not_its_own.sub(lambda run: _ascii(run[0]), composed)


def alphabet_of(language: str | Alphabet, characters: str = "") -> Alphabet:
    """Return the alphabet of a language.

    Args:
        language: The code of a language, or an alphabet, which is returned as it is.
        characters: Its characters in the order of the outputs. A space is added at the end if there is none.
            Empty for a registered language, whose characters are known.

    Raises:
        LanguageError: For a language without characters that is not registered, and for characters that make
            no alphabet.

    Example:
        >>> alphabet_of("de").num_outputs, alphabet_of("haw", "aeiouhklmnpwʻ").num_outputs
        (34, 15)
    """
    if isinstance(language, Alphabet):
        return language
    if characters:
        return Alphabet(language, characters if " " in characters else f"{characters} ")
    try:
        found = LANGUAGES[language]
    except UnknownName as error:
        raise LanguageError(f"{error}; give the characters of any other.") from None
    if not isinstance(found, Alphabet):
        raise LanguageError(f"language {language!r} is registered as {found!r}, and must be an Alphabet.")
    return found


def _fault(characters: str) -> str:
    """What keeps `characters` from being those of an alphabet; empty if nothing does."""
    if not 2 <= len(characters) <= MOST_CHARACTERS:
        return f"there are {len(characters)}, and there must be 2 to {MOST_CHARACTERS}"
    if characters.count(" ") != 1:
        return f"they hold {characters.count(' ')} spaces, and must hold one"
    for character, count in Counter(characters).items():
        if count > 1:
            return f"{character!r} comes {count} times"
        if not character.isprintable():
            return f"{character!r} is not printable"
    if characters != characters.lower():
        return "they must be in lower case"
    if any(unicodedata.normalize("NFC", character) != character for character in characters):
        return "they must be composed (Unicode NFC)"
    return ""


def _ascii(text: str) -> str:
    """Lower the case, replace equivalents, strip all accents; keep other characters."""
    plain = unicodedata.normalize("NFKD", text.lower().translate(_EQUIVALENTS))
    plain = plain.lower().translate(_EQUIVALENTS)
    return "".join(c for c in plain if not unicodedata.combining(c))


ENGLISH = Alphabet("en", _BASE)
FRENCH = Alphabet("fr", f"{_BASE}àâæçèéêëîïôœùûüÿ")
GERMAN = Alphabet("de", f"{_BASE}äöüß")
