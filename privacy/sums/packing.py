"""A node's integer sum as bytes, losslessly, in a number of bytes that does not depend on the sum.

A general compressor makes a sum longer the more there was to learn. The length would then be a function of
the speech, without noise, visible to everyone who watches the network or reads a run's metrics. Here the
length depends only on public numbers. Every group of slices has a norm of at most `count` times its bound, so
by Cauchy and Schwarz its absolute values add up to at most L = sqrt(size) * count * bound, and a Golomb-Rice
code with k low bits takes at most size * (k + 1) + 2 L / 2**k bits. The k with the smallest such number is
taken, and zeros fill the bytes up to that number. For one update at its bounds this is within a bit per value
of the entropy of a Gaussian (benchmarks/traffic.md).

A block of that code has up to 32,768 values of one group.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from privacy.clipping.bounds import ClipBounds
from privacy.clipping.quantisation import Quantiser, accumulator_dtype, limited_ranges
from privacy.errors import ReplyRejected
from privacy.sums.rice import add_decoded_, encode
from privacy.sums.rice_blocks import LENGTH_BYTES, Block, Blocks, Bytes, fixed_bytes

_BLOCK = 1 << 15


@dataclass(frozen=True)
class _Group:
    """A group of slices: its begin and end, the number of low bits of its code, and its largest norm."""

    begin: int
    end: int
    k: int
    squared_reach: int  # the largest squared norm of the group's sum, in steps

    @classmethod
    def of(cls, begin: int, end: int, squared_reach: int) -> _Group:
        bits = [
            k * (end - begin) + (_twice_sum(end - begin, squared_reach) >> k)
            for k in range(squared_reach.bit_length() // 2 + 2)
        ]
        return cls(begin, end, bits.index(min(bits)), squared_reach)

    def blocks(self) -> Iterator[Block]:
        """Its blocks."""
        for begin in range(self.begin, self.end, _BLOCK):
            end = min(begin + _BLOCK, self.end)
            yield Block(
                begin=begin,
                end=end,
                low_bits=self.k,
                most_unary=self._unary_bytes(end - begin),
                room=self._most_bytes() if begin == self.begin else 0,
            )

    def _unary_bytes(self, size: int) -> int:
        """The largest number of bytes of the unary part of `size` of the group's values."""
        return (size + (_twice_sum(size, self.squared_reach) >> self.k) + 7) // 8

    def _most_bytes(self) -> int:
        """The largest number of bytes of the group. Each block may waste a part of a byte."""
        sizes = [min(_BLOCK, self.end - begin) for begin in range(self.begin, self.end, _BLOCK)]
        fixed = sum(LENGTH_BYTES + 1 + fixed_bytes(size, self.k) for size in sizes)
        return fixed + self._unary_bytes(self.end - self.begin)


class _Code:
    """The code of a sum's groups.

    Attributes:
        blocks: The blocks of all groups.
        groups: The groups.
    """

    def __init__(self, groups: Sequence[_Group]) -> None:
        self.groups = groups
        of_groups = [list(group.blocks()) for group in groups]
        self.blocks = Blocks(block for blocks in of_groups for block in blocks)
        self._last = np.cumsum([len(blocks) for blocks in of_groups], dtype=np.int64) - 1

    def number_of(self, block: Block) -> int:
        """The number of the group of a block."""
        ends = (block.end <= group.end for group in self.groups)
        return list(ends).index(True)

    def of_blocks(self, limits: Sequence[float]) -> npt.NDArray[np.float64]:
        """The limits of groups as those of blocks: the last block of a group has the group's."""
        found = np.full(len(self.blocks.table), np.inf)
        found[self._last] = limits
        return found


def packed_bytes(count: int, bounds: ClipBounds, quantiser: Quantiser) -> int:
    """The length of every sum of `count` updates that `pack` makes: a function of public numbers."""
    return _code(count, bounds, quantiser).blocks.bytes


def pack(total: Tensor, count: int, bounds: ClipBounds, quantiser: Quantiser) -> Bytes:
    """Pack the sum (bounds.size,) of `count` clipped updates, in steps, into `packed_bytes` bytes.

    Raises:
        ValueError: if the sum does not fit, which a sum of `count` clipped updates always does.

    Example:
        >>> bounds = ClipBounds(offsets=(0, 3), bounds=(1.0,))
        >>> quantiser, total = Quantiser.of(bounds), torch.tensor([5, -2, 7], dtype=torch.int32)
        >>> packed = pack(total, 1, bounds, quantiser)
        >>> len(packed) == packed_bytes(1, bounds, quantiser)
        True
        >>> unpack(packed, 1, bounds, quantiser).tolist()
        [5, -2, 7]
    """
    code = _code(count, bounds, quantiser)
    packed = np.zeros(code.blocks.bytes, dtype=np.uint8)
    held = total.to(accumulator_dtype(count, quantiser))
    if held.dtype != total.dtype and not torch.equal(held.to(total.dtype), total):
        raise ValueError(f"A sum of {count} clipped updates fits in {held.dtype}; this sum does not.")
    if block := encode(held.numpy(), code.blocks, packed):
        group = code.groups[code.number_of(block)]
        raise ValueError(
            f"Coordinates {group.begin} to {group.end - 1} are not a sum of {count} clipped updates: "
            f"the norm of such a sum is at most {math.isqrt(group.squared_reach)} steps."
        )
    return packed


def unpack(packed: Bytes, count: int, bounds: ClipBounds, quantiser: Quantiser) -> Tensor:
    """The inverse of `pack`: shape (bounds.size,), with the dtype of `accumulator_dtype`.

    Guarantee:
        For all accepted bytes, `pack` of the result returns the same bytes. The norms are not checked here:
        `add_packed_` does that.

    Raises:
        ReplyRejected: for bytes of another length, and for bytes that `pack` returns for no sum.
    """
    total = torch.zeros(bounds.size, dtype=accumulator_dtype(count, quantiser))
    add_unpacked_(total, packed, count, bounds, quantiser)
    return total


def add_unpacked_(
    accumulator: Tensor,
    packed: Bytes,
    count: int,
    bounds: ClipBounds,
    quantiser: Quantiser,
    limits: Sequence[float] | None = None,
) -> tuple[int, float] | None:
    """Unpack a sum and add it to an int32 or int64 sum (bounds.size,), in place.

    Args:
        accumulator: what it is added to.
        packed: the bytes that `pack` made.
        count: the number of updates in them.
        bounds: the clip bounds.
        quantiser: the quantiser of these bounds.
        limits: the largest squared norm, in steps, of each group of slices that is not empty.

    Returns:
        None; or the number of the first group beyond its limit, and its squared norm: then nothing is added.

    Raises:
        ReplyRejected: as for `unpack`; nothing is added.
    """
    code = _code(count, bounds, quantiser)
    if packed.dtype != np.uint8 or packed.shape != (code.blocks.bytes,):
        raise ReplyRejected(
            f"Expected {code.blocks.bytes} bytes for a sum of {count} updates, "
            f"got {packed.shape} {packed.dtype}."
        )
    dtype = torch.empty(0, dtype=accumulator_dtype(count, quantiser)).numpy().dtype
    most = None if limits is None else code.of_blocks(limits)
    beyond = add_decoded_(accumulator.numpy(), packed, code.blocks, dtype, most)
    return beyond and (code.number_of(beyond[0]), beyond[1])


def _twice_sum(size: int, squared_reach: int) -> int:
    """The largest sum of 2 |x| over `size` integers with this squared norm."""
    return math.isqrt(4 * size * squared_reach)


@lru_cache(maxsize=256)
def _code(count: int, bounds: ClipBounds, quantiser: Quantiser) -> _Code:
    ranges = limited_ranges(bounds, quantiser)
    return _Code([_Group.of(begin, end, count * count * limit) for _, begin, end, limit in ranges])
