"""What a check found wrong: which promise, in which round, and the two values that differ."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One broken promise. `what` is a word that a test can ask for, `detail` is for people."""

    what: str
    round_number: int
    detail: str

    def __str__(self) -> str:
        return f"round {self.round_number}: {self.what}: {self.detail}"
