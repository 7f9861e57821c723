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

import numpy as np
import numpy.typing as npt

from privacy.errors import ReplyRejected

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.signedinteger]
"""int32 or int64."""

LENGTH_BYTES = 4


class NoRoom(ValueError):
    """The numbers of the block with the number `block` take more bytes than it has."""

    def __init__(self, block: int) -> None:
        super().__init__(f"the numbers of block {block} take more bytes than it has")
        self.block = block


class BeyondLimit(Exception):
    """With the block of the number `block`, the squared norm of its group is `squared`: beyond its limit."""

    def __init__(self, block: int, squared: float) -> None:
        super().__init__(block, squared)
        self.block, self.squared = block, squared


@dataclass(frozen=True, kw_only=True)
class Block:
    """A block of numbers.

    Attributes:
        begin: its first number.
        end: one after its last.
        low_bits: k.
        most_unary: the largest number of bytes of its unary part.
        room: if it is the first of a group of blocks, the largest number of bytes of the group; else 0.
    """

    begin: int
    end: int
    low_bits: int
    most_unary: int
    room: int


class Blocks:
    """The blocks of a code, in order, as a table for the compiled loops."""

    def __init__(self, blocks: Iterable[Block]) -> None:
        self.blocks = tuple(blocks)
        self.table = np.array([astuple(one) for one in self.blocks], dtype=np.int64)
        self._longest = max(one.end - one.begin for one in self.blocks)
        self._most_unary = max(one.most_unary for one in self.blocks)

    def scratch(self, dtype: np.dtype[np.signedinteger]) -> tuple[npt.NDArray[np.integer], ...]:
        """Memory for one block.

        Returns:
            The numbers, the same memory unsigned, a byte per number in words, the same memory as bytes, and
            the words of the unary part.
        """
        numbers = np.empty(self._longest, dtype)
        words = np.empty((self._longest + 7) // 8, dtype="<u8")
        stream = np.empty(self._most_unary // 8 + 1, dtype=np.uint64)
        return numbers, numbers.view(f"u{dtype.itemsize}"), words, words.view(np.uint8), stream


def fixed_bytes(count: int, k: int) -> int:
    """The number of bytes of the low k bits of `count` numbers."""
    return k // 8 * count + k % 8 * ((count + 7) // 8)


def encode(numbers: Numbers, blocks: Blocks, out: Bytes) -> None:
    """Write the code of `numbers` (n,) to the beginning of `out`, which is all zeros.

    Raises:
        NoRoom: if a block has too little room.
    """
    from privacy.sums.rice_loops import DONE, write  # imported here, because many commands never need it

    _, *scratch = blocks.scratch(numbers.dtype)
    if (outcome := write(numbers, blocks.table, out, *scratch)) != DONE:
        raise NoRoom(outcome)


def add_decoded_(
    sums: Numbers,
    packed: Bytes,
    blocks: Blocks,
    dtype: np.dtype[np.signedinteger],
    limits: npt.NDArray[np.float64] | None = None,
) -> None:
    """Add the numbers of a code to `sums` (n,), in place: no memory of their size.

    Args:
        sums: int32 or int64.
        packed: what `encode` wrote, whole.
        blocks: its blocks.
        dtype: the type of the numbers.
        limits: for each block, the largest squared norm of its group up to the block's end.

    Raises:
        ReplyRejected: if `encode` writes these bytes for no numbers of this type.
        BeyondLimit: if the numbers are beyond one of the limits.
        In both cases `sums` is unchanged.
    """
    from privacy.sums.rice_loops import BEYOND, DONE, add_read_

    scratch = blocks.scratch(dtype)
    most = np.full(len(blocks.table), np.inf) if limits is None else limits
    outcome, place, detail = add_read_(sums, packed, blocks.table, most, 1, *scratch)
    if outcome == DONE and not packed[place:].any():
        return
    added = {DONE: len(blocks.table), BEYOND: place + 1}.get(outcome, place)
    add_read_(sums, packed, blocks.table[:added], most, -1, *scratch)  # integers wrap around: to the bit
    if outcome == DONE:
        raise ReplyRejected(f"the {len(packed) - place} bytes after the last value are not all zero")
    if outcome == BEYOND:
        raise BeyondLimit(place, detail)
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
