"""The Golomb-Rice code of integers (Golomb 1966, Rice 1979), block by block.

A number x becomes u = 2x for x >= 0, and u = -2x - 1 for x < 0. The low k bits of u are written as they are,
byte by byte and then bit plane by bit plane. The bits above them are written in unary: u >> k zeros, then a
one. Before each block are 4 bytes with the length of its unary part (little-endian); after the last, zeros.

Guarantee: numbers have exactly one code of a length, and `add_decoded_` accepts no other: nothing expands
beyond the expected size, and there are no trailing bits and no second code of the same numbers.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from privacy.errors import ReplyRejected
from privacy.sums.rice_blocks import Block, Blocks, Bytes, Numbers


def encode(numbers: Numbers, blocks: Blocks, out: Bytes) -> Block | None:
    """Write the code of `numbers` (n,) to the beginning of `out`, which is all zeros.

    Returns:
        The first block whose numbers take more bytes than it has; None if all have room.
    """
    from privacy.sums.rice_loops import DONE, write  # imported here, because many commands never need it

    _require(numbers, blocks, out)
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

    _require(sums, blocks, packed)
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


def _require(numbers: Numbers, blocks: Blocks, code: Bytes) -> None:
    """Raise `ValueError` if the arrays are not those of the blocks: the compiled loops do not look."""
    if numbers.shape != (blocks.numbers,) or numbers.dtype not in (np.int32, np.int64):
        raise ValueError(
            f"Expected {blocks.numbers} int32 or int64 values, got {numbers.shape} {numbers.dtype}."
        )
    if code.shape != (blocks.bytes,) or code.dtype != np.uint8:
        raise ValueError(f"Expected {blocks.bytes} bytes, got {code.shape} {code.dtype}.")


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
