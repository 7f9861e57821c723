"""How many bytes travel between server and nodes in a round.

Guarantee: with honest nodes these are functions of public sizes and of whom the coins drew, never of
anybody's speech: the model has one size, and a packed sum has that of its count (`privacy.sums.packing`).
Whom the coins drew must stay secret as well, so they and their sums stay with the server.
"""

from __future__ import annotations

from dataclasses import dataclass

from flwr.app import ArrayRecord, RecordDict


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """The arrays that one node was sent in a round, and those of its answer, if that was taken."""

    node: int
    bytes_down: int
    bytes_up: int


def array_bytes(content: RecordDict) -> int:
    """The bytes of all arrays in a message; what else is in it is some hundred bytes."""
    records = (record for record in content.values() if isinstance(record, ArrayRecord))
    return sum(len(array.data) for record in records for array in record.values())
