"""Alphabets in files: a language that nobody registered, for those who start a run.

The file is UTF-8 text of one line: the characters, in the order of a model's outputs, without separators. The
name of the file is the code of the language: `uk.txt` for Ukrainian. A space is added at the end if the line
has none.

Guarantee: only the commands that a person types open such a file. Servers and nodes get the characters as
text, in the recipe.
"""

from pathlib import Path

from base.registries import LANGUAGES
from speech.errors import LanguageError
from speech.text import MOST_CHARACTERS, Alphabet, alphabet_of


def read_alphabet(path: str | Path) -> Alphabet:
    """Read the alphabet in a file.

    Raises:
        LanguageError: For a file that is missing, is no UTF-8 text, has more than one line, or whose
            characters
            make no alphabet.
    """
    path = Path(path).expanduser()
    try:
        with path.open(encoding="utf-8-sig") as file:
            line, rest = file.readline(MOST_CHARACTERS + 1).rstrip("\n"), file.read(MOST_CHARACTERS)
    except OSError as error:
        raise LanguageError(f"{path}: cannot be read ({error.strerror}); {_REMEDY}.") from None
    except UnicodeDecodeError:
        raise LanguageError(f"{path}: is not UTF-8 text; {_REMEDY}.") from None
    if not line or rest.strip():
        raise LanguageError(f"{path}: must have one line, with the characters; {_REMEDY}.")
    try:
        return alphabet_of(path.stem, line)
    except LanguageError as error:
        raise LanguageError(f"{path}: {error}") from None


def named_alphabet(named: str) -> Alphabet:
    """Return the alphabet that a person names: a registered language, or the path of a file.

    Raises:
        LanguageError: For neither, and as `read_alphabet` does.
    """
    if named in LANGUAGES:
        return alphabet_of(named)
    if not Path(named).expanduser().is_file():
        raise LanguageError(
            f"language {named!r} is not registered, and is no file; registered are "
            f"{', '.join(map(repr, LANGUAGES))}. For any other, {_REMEDY}."
        )
    return read_alphabet(named)


_REMEDY = "give the path of a text file with its characters on one line, such as uk.txt (docs/corpora.md)"
