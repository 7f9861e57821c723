"""The blocks of a code (`privacy.sums.rice`): which numbers each has, and how many bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.signedinteger]
"""int32 or int64."""

LENGTH_BYTES = 4  # before a block: the number of bytes of its unary part
BEGIN, END, LOW_BITS, MOST_UNARY, ROOM = range(5)  # the columns of `Blocks.table`


def fixed_bytes(count: int, k: int) -> int:
    """The number of bytes of the low k bits of `count` numbers."""
    return k // 8 * count + k % 8 * ((count + 7) // 8)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A block of numbers.

    Attributes:
        begin: its first number.
        end: one after its last.
        low_bits: k.
        most_unary: the largest number of bytes of its unary part.
        room: if it is the first of a group of blocks, the largest number of bytes of the group; else 0.

    Example:
        >>> block = Block(begin=0, end=3, low_bits=1, most_unary=2, room=7)
        >>> block.room == LENGTH_BYTES + fixed_bytes(count=3, k=1) + block.most_unary
        True
    """

    begin: int
    end: int
    low_bits: int
    most_unary: int
    room: int


class _Scratch(NamedTuple):
    """Memory for one block: its numbers, a byte of each, and the words of its unary part."""

    numbers: Numbers
    folded: npt.NDArray[np.unsignedinteger]  # the same memory
    words: npt.NDArray[np.uint64]
    lows: Bytes  # the same memory as the words
    stream: npt.NDArray[np.uint64]


class Blocks:
    """The blocks of a code, in order, as a table for the compiled loops.

    Attributes:
        blocks: The blocks.
        table: A row for each.
        numbers: How many numbers they have.
        bytes: How many bytes the code may take.

    Example:
        >>> blocks = Blocks([Block(begin=0, end=3, low_bits=1, most_unary=2, room=7)])
        >>> blocks.table.tolist()
        [[0, 3, 1, 2, 7]]
    """

    def __init__(self, blocks: Iterable[Block]) -> None:
        self.blocks = tuple(blocks)
        self.table = np.array([astuple(one) for one in self.blocks], dtype=np.int64)
        self.table.shape = (len(self.blocks), ROOM + 1)
        self.numbers = self.blocks[-1].end if self.blocks else 0
        self.bytes = sum(one.room for one in self.blocks)
        self._longest = max((one.end - one.begin for one in self.blocks), default=0)
        self._most_unary = max((one.most_unary for one in self.blocks), default=0)

    def scratch(self, dtype: np.dtype[np.signedinteger]) -> _Scratch:
        """Memory for one block of numbers of this type."""
        numbers = np.empty(self._longest, dtype)
        words = np.empty((self._longest + 7) // 8, dtype="<u8")
        stream = np.empty(self._most_unary // 8 + 1, dtype=np.uint64)
        return _Scratch(numbers, numbers.view(f"u{dtype.itemsize}"), words, words.view(np.uint8), stream)
