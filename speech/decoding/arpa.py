"""The vocabulary of an ARPA file, and whether it models characters or words.

This module reads only the header and the 1-grams, line by line; KenLM reads the rest.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

from speech.errors import LanguageModelError

Unit = Literal["character", "word"]
BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
# ARPA files separate tokens by spaces, so the space as a token needs a name.
SPACE = "|"
_NO_TOKENS = frozenset({BEGIN, END, UNKNOWN, "<UNK>"})
_REMEDY = "give an uncompressed ARPA file, as `murmur lm` or KenLM's lmplz write it"


@dataclass(frozen=True, kw_only=True)
class Arpa:
    """A language model file and the tokens (without <s>, </s> and <unk>) of its 1-grams, in its order.

    Example:
        >>> Arpa(path=Path("mine.arpa"), tokens=("a", "b", "|")).unit
        'character'
    """

    path: Path
    tokens: tuple[str, ...]

    @property
    def unit(self) -> Unit:
        """Characters if each token is one and the space, written `|`, is among them; else words."""
        characters = SPACE in self.tokens and all(len(token) == 1 for token in self.tokens)
        return "character" if characters else "word"


def read_arpa(path: str | Path) -> Arpa:
    """Read the vocabulary of an ARPA file.

    Raises:
        LanguageModelError: For a missing or empty file, another format, a broken header or 1-gram, or no
            token.
            The message names file, line and what was expected.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8") as file:
            tokens = _unigrams(path, file)
    except FileNotFoundError:
        raise LanguageModelError(f"{path}: no such language model; `murmur lm` makes one.") from None
    except OSError as error:
        raise LanguageModelError(f"{path}: cannot be read ({error.strerror}); {_REMEDY}.") from None
    except UnicodeDecodeError:
        raise LanguageModelError(f"{path}: is no UTF-8 text; {_REMEDY}.") from None
    known = tuple(token for token in tokens if token not in _NO_TOKENS)
    if not known:
        raise LanguageModelError(f"{path}: an empty language model, without one token; make it from text.")
    return Arpa(path=path, tokens=known)


def _unigrams(path: Path, file: TextIO) -> list[str]:
    """Return the tokens of the section of 1-grams, as many as the header states."""
    announced: int | None = None
    tokens: list[str] | None = None
    started = False
    for number, raw in enumerate(file, start=1):
        line = raw.strip()
        if not line:
            continue
        if not started:
            if line != "\\data\\":
                raise _fault(path, number, f"\\data\\ must come first, not {line[:40]!r}")
            started = True
        elif tokens is None:
            if line.startswith("ngram 1="):
                announced = _number(path, number, line)
            elif line == "\\1-grams:":
                tokens = []
            elif not line.startswith("ngram "):
                raise _fault(path, number, f"'ngram N=count' or \\1-grams: must be here, not {line[:40]!r}")
        elif line.startswith("\\"):
            if len(tokens) != announced:
                raise _fault(
                    path, number, f"{len(tokens)} 1-grams are before it, and the header states {announced}"
                )
            return tokens
        else:
            tokens.append(_token(path, number, line))
    if not started:
        raise LanguageModelError(f"{path}: an empty file; {_REMEDY}.")
    raise LanguageModelError(f"{path}: ends before its 1-grams end; make it again.")


def _token(path: Path, number: int, line: str) -> str:
    """Return the token of 'log10-probability token [log10-back-off]'."""
    fields = line.split()
    try:
        if len(fields) not in (2, 3) or not all(float(field) == float(field) for field in fields[::2]):
            raise ValueError
    except ValueError:
        raise _fault(
            path, number, f"a 1-gram is 'log10-probability token [log10-back-off]', not {line[:40]!r}"
        ) from None
    return fields[1]


def _number(path: Path, number: int, line: str) -> int:
    count = line.partition("=")[2].strip()
    if not count.isdecimal():
        raise _fault(path, number, f"a count must be in {line[:40]!r}")
    return int(count)


def _fault(path: Path, number: int, what: str) -> LanguageModelError:
    return LanguageModelError(f"{path}, line {number}: {what}; {_REMEDY}.")
