"""Text files of corpora, read line by line: UTF-8, with line feeds as the only ends of lines.

Transcripts contain characters that other programs take for ends of lines (U+2028, U+0085, form feeds).
"""

from collections.abc import Iterator
from pathlib import Path

from speech.errors import CorpusError


def lines(file: Path) -> Iterator[tuple[str, str]]:
    """Yield (place, line) of every line that is not blank; the place is "file:number".

    Raises:
        CorpusError: For a file that is missing or is no UTF-8 text.
    """
    try:
        with file.open("rb") as content:
            for number, raw in enumerate(content, start=1):
                line = _decoded(f"{file}:{number}", raw)
                if line.strip():
                    yield f"{file}:{number}", line
    except OSError as error:
        raise CorpusError(f"{file}: cannot be read ({error.strerror}); give the path of the file.") from error


def kaldi_table(file: Path) -> dict[str, tuple[str, str]]:
    """Read a Kaldi table of lines "key value ...": (value, place) by key.

    Raises:
        CorpusError: As `lines` does, and for a key that comes twice.
    """
    table: dict[str, tuple[str, str]] = {}
    for place, line in lines(file):
        key, *rest = line.split(maxsplit=1)
        if key in table:
            raise CorpusError(f"{place}: {key!r} was used before, at {table[key][1]}.")
        table[key] = (rest[0].strip() if rest else "", place)
    return table


def _decoded(place: str, raw: bytes) -> str:
    try:
        return raw.decode().removeprefix("\ufeff").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise CorpusError(f"{place}: is not UTF-8 text.") from None
