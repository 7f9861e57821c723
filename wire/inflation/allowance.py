"""How much a message may hold, in bytes and in objects."""

from __future__ import annotations

from dataclasses import dataclass

SMALLEST_CHUNK = 1 << 20  # bytes, on average; Flower's chunks have 5 MiB, except the last
REFUSED = 1_000  # error code of a refused message; not one of Flower's codes
FEW_OBJECTS = 64
NUMPY_HEADER = 4096  # bytes; numpy writes far fewer before an array
TREE_NODE_BYTES = 100  # of each object's name in the announcement of a message


class InflationRefused(ValueError):
    """A message would take more than its allowance, or is not a message; the text says which, in one line."""


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """The size that a message may have.

    Args:
        array_bytes: Bytes of all arrays, with numpy's headers.
        record_bytes: Bytes of all other objects. `other_bytes` adds a little for large arrays, whose chunks
            are listed there.

    Raises:
        ValueError: For a negative number.
    """

    array_bytes: int
    record_bytes: int = 1 << 16

    def __post_init__(self) -> None:
        if min(self.array_bytes, self.record_bytes) < 0:
            raise ValueError(f"{self}: bytes are 0 or more")

    @classmethod
    def of_model(cls, parameters: int) -> Allowance:
        """The allowance of a task that brings a model with this number of parameters.

        It has room for the model, for SCAFFOLD's control variates (as large as the model), and for a list of
        some hundred thousand speakers.
        """
        return cls(array_bytes=2 * (4 * parameters + NUMPY_HEADER), record_bytes=1 << 20)

    @property
    def other_bytes(self) -> int:
        """Bytes of all objects that are not chunks of arrays, as they travel."""
        return self.record_bytes + self.array_bytes // 4096

    @property
    def travelling_bytes(self) -> int:
        """Bytes of all objects, as they travel."""
        return self.array_bytes + self.other_bytes

    @property
    def objects(self) -> int:
        """The largest number of objects, chunks included."""
        return FEW_OBJECTS + self.array_bytes // SMALLEST_CHUNK

    @property
    def announcement_bytes(self) -> int:
        """Bytes of the answer that names the objects of one message."""
        return (1 << 16) + TREE_NODE_BYTES * self.objects
