"""What was said above what was heard, word under word, with the kind of each error marked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from speech.evaluation.error_rates import word_alignments

Kind = Literal["equal", "substitute", "insert", "delete"]
MARKS: dict[Kind, str] = {"equal": "", "substitute": "S", "insert": "I", "delete": "D"}
GAP = "*"


@dataclass(frozen=True)
class Column:
    """A word of the reference over one of the hypothesis; the empty string where there is none."""

    kind: Kind
    reference: str
    hypothesis: str

    @property
    def width(self) -> int:
        """Characters of the longer word."""
        return max(len(self.reference), len(self.hypothesis))

    def cells(self) -> tuple[str, str, str]:
        """Reference, hypothesis and mark, all `width` wide; a gap is filled with asterisks."""
        words = (word or GAP * self.width for word in (self.reference, self.hypothesis))
        said, heard = (word.ljust(self.width) for word in words)
        return said, heard, MARKS[self.kind].ljust(self.width)


def columns(reference: str, hypothesis: str) -> list[Column]:
    """The columns of a shortest alignment of two texts' words."""
    said, heard = reference.split(), hypothesis.split()
    found = []
    for chunk in word_alignments([reference], [hypothesis])[0]:
        top = said[chunk.ref_start_idx : chunk.ref_end_idx]
        bottom = heard[chunk.hyp_start_idx : chunk.hyp_end_idx]
        length = max(len(top), len(bottom))
        found += [
            Column(chunk.type, above, below)
            for above, below in zip(_filled(top, length), _filled(bottom, length), strict=True)
        ]
    return found


def rows(columns: Sequence[Column], width: int) -> Iterator[list[Column]]:
    """Columns in rows of at most `width` characters, one space between two; a longer word stands alone."""
    row: list[Column] = []
    used = 0
    for column in columns:
        if row and used + 1 + column.width > width:
            yield row
            row, used = [], 0
        used += column.width + bool(row)
        row.append(column)
    if row:
        yield row


def _filled(words: Sequence[str], length: int) -> list[str]:
    return [*words, *[""] * (length - len(words))]
