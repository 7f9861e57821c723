"""The bytes that travel between server and nodes in a round.

Guarantee: with honest nodes these numbers depend on public sizes and on the drawn speakers only, never on
anybody's data: the model has one size, and the size of a packed sum follows from its count
(`privacy.sums.packing`). The drawn speakers must stay secret as well, so these numbers stay with the server.
"""

from __future__ import annotations

from dataclasses import dataclass

from flwr.app import ArrayRecord, RecordDict


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Bytes of the arrays in one node's task, and in its answer if that was accepted.

    Example:
        >>> Traffic(node=7, bytes_down=4096, bytes_up=0).bytes_down
        4096
    """

    node: int
    bytes_down: int
    bytes_up: int


def array_bytes(content: RecordDict) -> int:
    """The bytes of all arrays in a message; the rest of it has some hundred bytes."""
    records = (record for record in content.values() if isinstance(record, ArrayRecord))
    return sum(len(array.data) for record in records for array in record.values())
