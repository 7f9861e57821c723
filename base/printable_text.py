"""Text from elsewhere (a node, a ledger, a seed model's file), made safe to show.

A name that is printed unchanged can move a terminal's cursor, clear its screen, change the direction of
writing, add lines to a table, or add links to a model card.

Guarantee (`one_line`): the result has only printable characters, no line break, and a limited length.
Guarantee (`in_markdown`): the same, and Markdown reads no part of it as a link, an image, HTML, code or the
end of a table cell.
"""

from __future__ import annotations

LONGEST_REASON = 400
_MARKS = str.maketrans({mark: f"\\{mark}" for mark in "\\`*[]<>|&"})


def one_line(words: str, *, most: int = LONGEST_REASON) -> str:
    """`words` with a space for each character that is not printable, cut after `most` characters.

    Example:
        >>> one_line("ward\\x1b[2J seven", most=12)
        'ward [2J sev ...'
    """
    shown = "".join(one if one.isprintable() else " " for one in words[: most + 1])
    return shown if len(words) <= most else shown[:most] + " ..."


def in_markdown(words: str) -> str:
    """`words` as one line of Markdown text or of a table cell."""
    return one_line(words).translate(_MARKS)


def in_code(words: str) -> str:
    """`words` for the inside of a Markdown code span, where a backslash escapes nothing."""
    return one_line(words).replace("`", "'")
