"""A table of edits: the reference above the hypothesis, word above word, with the kind of each error."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from speech.evaluation.error_rates import word_alignments

Kind = Literal["equal", "substitute", "insert", "delete"]
MARKS: dict[Kind, str] = {"equal": "", "substitute": "S", "insert": "I", "delete": "D"}
GAP = "*"


@dataclass(frozen=True)
class Column:
    """A word of the reference above one of the hypothesis; an empty string for a missing word.

    Example:
        >>> [column.kind for column in columns("turn left", "turn the left")]
        ['equal', 'insert', 'equal']
        >>> Column("delete", "left", "").cells()
        ('left', '****', 'D   ')
    """

    kind: Kind
    reference: str
    hypothesis: str

    @property
    def width(self) -> int:
        """The length of the longer word."""
        return max(len(self.reference), len(self.hypothesis))

    def cells(self) -> tuple[str, str, str]:
        """Return reference, hypothesis and mark, each of `width` characters; asterisks fill a gap."""
        words = (word or GAP * self.width for word in (self.reference, self.hypothesis))
        reference, hypothesis = (word.ljust(self.width) for word in words)
        return reference, hypothesis, MARKS[self.kind].ljust(self.width)


def columns(reference: str, hypothesis: str) -> list[Column]:
    """Return the columns of a shortest alignment of the words of two texts."""
    above, below = reference.split(), hypothesis.split()
    found = []
    for chunk in word_alignments([reference], [hypothesis])[0]:
        top = above[chunk.ref_start_idx : chunk.ref_end_idx]
        bottom = below[chunk.hyp_start_idx : chunk.hyp_end_idx]
        length = max(len(top), len(bottom))
        found += [
            Column(cast(Kind, chunk.type), upper, lower)
            for upper, lower in zip(_filled(top, length), _filled(bottom, length), strict=True)
        ]
    return found


def rows(columns: Sequence[Column], width: int) -> Iterator[list[Column]]:
    """Yield rows of columns of at most `width` characters, with spaces between; a longer word is alone."""
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
