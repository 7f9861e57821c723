"""Numbers of things in words, for messages and pages."""

from __future__ import annotations


def count_of(number: int, thing: str) -> str:
    """Return the number with its noun, which takes an s unless the number is 1.

    Example:
        >>> count_of(1, "speaker"), count_of(2048, "speaker"), count_of(0, "round")
        ('1 speaker', '2,048 speakers', '0 rounds')
    """
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"
