"""Text that somebody else chose (a node, a ledger, a seed model's file), fit to be shown.

Names that are printed as they are can move a terminal's cursor, clear its screen, turn the direction of
writing, add lines to a table or links to a model card.

Guarantee (`one_line`): what it returns has printable characters alone, no end of a line among them, and at
most so many. (`in_markdown`): and Markdown takes none of it for a link, an image, HTML, code or the end of a
cell.
"""

from __future__ import annotations

LONGEST_REASON = 400
_MARKS = str.maketrans({mark: f"\\{mark}" for mark in "\\`*[]<>|&"})


def one_line(words: str, *, most: int = LONGEST_REASON) -> str:
    """`words` with a space for whatever is not printable, cut after `most` characters."""
    shown = "".join(one if one.isprintable() else " " for one in words[: most + 1])
    return shown if len(words) <= most else shown[:most] + " ..."


def in_markdown(words: str) -> str:
    """One line of Markdown's running text, or of a table's cell."""
    return one_line(words).translate(_MARKS)


def in_code(words: str) -> str:
    """The inside of a code span, whose end no backslash keeps off."""
    return one_line(words).replace("`", "'")
