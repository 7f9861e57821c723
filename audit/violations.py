"""What a check reports: the broken promise, the round, and the two values that differ."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Violation:
    """One broken promise.

    Args:
        what: a word for the promise, for tests.
        round_number: the round.
        detail: the values that differ, for readers.

    Example:
        >>> print(Violation(what="divisor", round_number=2, detail="3, the plan's cohort is 10"))
        round 2: divisor: 3, the plan's cohort is 10
    """

    what: str
    round_number: int
    detail: str

    def __str__(self) -> str:
        return f"round {self.round_number}: {self.what}: {self.detail}"
