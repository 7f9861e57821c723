"""The Golomb-Rice code of integers (Golomb 1966, Rice 1979), block by block.

A number x becomes u = 2x for x >= 0, and u = -2x - 1 for x < 0. The low k bits of u are written as they are,
byte by byte and then bit plane by bit plane. The bits above them are written in unary: u >> k zeros, then a
one. Before each block are 4 bytes with the length of its unary part (little-endian); after the last, zeros.

Guarantee: numbers have exactly one code of a length, and `add_decoded_` accepts no other: nothing expands
beyond the expected size, and there are no trailing bits and no second code of the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from privacy.errors import ReplyRejected

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.signedinteger]
"""int32 or int64."""

LENGTH_BYTES = 4


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

    Example:
        >>> blocks = Blocks([Block(begin=0, end=3, low_bits=1, most_unary=2, room=7)])
        >>> out, sums = np.zeros(7, np.uint8), np.zeros(3, np.int32)
        >>> encode(np.array([2, -1, 0], np.int32), blocks, out)
        >>> add_decoded_(sums, out, blocks, sums.dtype)
        >>> out.tolist(), sums.tolist()
        ([1, 0, 0, 0, 64, 56, 0], [2, -1, 0])
    """

    def __init__(self, blocks: Iterable[Block]) -> None:
        self.blocks = tuple(blocks)
        self.table = np.array([astuple(one) for one in self.blocks], dtype=np.int64)
        self._longest = max(one.end - one.begin for one in self.blocks)
        self._most_unary = max(one.most_unary for one in self.blocks)

    def scratch(self, dtype: np.dtype[np.signedinteger]) -> _Scratch:
        """Memory for one block of numbers of this type."""
        numbers = np.empty(self._longest, dtype)
        words = np.empty((self._longest + 7) // 8, dtype="<u8")
        stream = np.empty(self._most_unary // 8 + 1, dtype=np.uint64)
        return _Scratch(numbers, numbers.view(f"u{dtype.itemsize}"), words, words.view(np.uint8), stream)


def fixed_bytes(count: int, k: int) -> int:
    """The number of bytes of the low k bits of `count` numbers."""
    return k // 8 * count + k % 8 * ((count + 7) // 8)


def encode(numbers: Numbers, blocks: Blocks, out: Bytes) -> Block | None:
    """Write the code of `numbers` (n,) to the beginning of `out`, which is all zeros.

    Returns:
        The first block whose numbers take more bytes than it has; None if all have room.
    """
    from privacy.sums.rice_loops import DONE, write  # imported here, because many commands never need it

    outcome = write(numbers, blocks.table, out, *blocks.scratch(numbers.dtype)[1:])
    return None if outcome == DONE else blocks.blocks[outcome]


def add_decoded_(
    sums: Numbers,
    packed: Bytes,
    blocks: Blocks,
    dtype: np.dtype[np.signedinteger],
    limits: npt.NDArray[np.float64] | None = None,
) -> tuple[Block, float] | None:
    """Add the numbers of a code to `sums` (n,), in place: no memory of their size.

    Args:
        sums: int32 or int64.
        packed: what `encode` wrote, whole.
        blocks: its blocks.
        dtype: the type of the numbers.
        limits: for each block, the largest squared norm of its group up to the block's end.

    Returns:
        None; or the first block beyond its limit, and the squared norm of its group so far. Then `sums` is
        unchanged.

    Raises:
        ReplyRejected: if `encode` writes these bytes for no numbers of this type; `sums` is unchanged.
    """
    from privacy.sums.rice_loops import BEYOND, DONE, add_read_

    scratch = blocks.scratch(dtype)
    most = np.full(len(blocks.table), np.inf) if limits is None else limits
    outcome, place, detail = add_read_(sums, packed, blocks.table, most, 1, *scratch)
    if outcome == DONE and not packed[place:].any():
        return None
    added = {DONE: len(blocks.table), BEYOND: place + 1}.get(outcome, place)
    add_read_(sums, packed, blocks.table[:added], most, -1, *scratch)  # integers wrap around: to the bit
    if outcome == DONE:
        raise ReplyRejected(f"the {len(packed) - place} bytes after the last value are not all zero")
    if outcome == BEYOND:
        return blocks.blocks[place], detail
    raise ReplyRejected(_fault(outcome, blocks.blocks[place], int(detail), 8 * dtype.itemsize))


def _fault(outcome: int, block: Block, detail: int, bits: int) -> str:
    """What is wrong with a block, in words."""
    from privacy.sums.rice_loops import BITS_AFTER, MORE, TOO_LARGE, TOO_LONG

    count = block.end - block.begin
    return {
        TOO_LARGE: f"a value is beyond {bits} bits: the sum was damaged",
        MORE: f"more follows after the last of {count} values: the sum was damaged",
        BITS_AFTER: f"bits after the last of {count} values are set: the sum was damaged",
        TOO_LONG: f"a block of {count} values claims {detail} bytes, more than it can need",
    }.get(outcome, f"a block of {count} values has {detail} ends: the sum was damaged")
