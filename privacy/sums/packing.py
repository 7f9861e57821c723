"""A node's integer sum as bytes, losslessly, in a number of bytes that does not depend on the sum.

A general compressor makes a sum longer the more there was to learn. The length would then be a function of
the speech, without noise, visible to everyone who watches the network or reads a run's metrics. Here the
length depends only on public numbers. Every group of slices has a norm of at most `count` times its bound, so
by Cauchy and Schwarz its absolute values add up to at most L = sqrt(size) * count * bound, and a Golomb-Rice
code with k low bits takes at most size * (k + 1) + 2 L / 2**k bits. The k with the smallest such number is
taken, and zeros fill the bytes up to that number. For one update at its bounds this is within a bit per value
of the entropy of a Gaussian (benchmarks/traffic.md).

The layout: for each block of 32,768 values of each group, 4 bytes with the length of its unary part
(little-endian), the low bits, the unary part; after the last block, zeros.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from privacy.clipping.bounds import ClipBounds
from privacy.clipping.quantisation import Quantiser, accumulator_dtype, limited_ranges
from privacy.errors import ReplyRejected
from privacy.sums import rice
from privacy.sums.rice import Bytes

_BLOCK = 1 << 15
_LENGTH_BYTES = 4


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

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Begin and end of each block."""
        for begin in range(self.begin, self.end, _BLOCK):
            yield begin, min(begin + _BLOCK, self.end)

    def unary_bytes(self, size: int) -> int:
        """The largest number of bytes of the unary part of `size` of the group's values."""
        return (size + (_twice_sum(size, self.squared_reach) >> self.k) + 7) // 8

    @cached_property
    def most_bytes(self) -> int:
        """The largest number of bytes of the group. Each block may waste a part of a byte."""
        fixed = sum(_LENGTH_BYTES + 1 + rice.fixed_bytes(end - begin, self.k) for begin, end in self.blocks())
        return fixed + self.unary_bytes(self.end - self.begin)


def packed_bytes(count: int, bounds: ClipBounds, quantiser: Quantiser) -> int:
    """The length of every sum of `count` updates that `pack` makes: a function of public numbers."""
    return sum(group.most_bytes for group in _groups(count, bounds, quantiser))


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
    packed = np.zeros(packed_bytes(count, bounds, quantiser), dtype=np.uint8)
    held = total.to(accumulator_dtype(count, quantiser))
    if held.dtype != total.dtype and not torch.equal(held.to(total.dtype), total):
        raise ValueError(f"A sum of {count} clipped updates fits in {held.dtype}; this sum does not.")
    numbers = held.numpy()
    place = 0
    for group in _groups(count, bounds, quantiser):
        room = group.most_bytes + place
        for begin, end in group.blocks():
            try:
                place += _pack_block(numbers[begin:end], group, packed[place:room])
            except ValueError:
                raise ValueError(
                    f"Coordinates {group.begin} to {group.end - 1} are not a sum of {count} clipped updates: "
                    f"the norm of such a sum is at most {math.isqrt(group.squared_reach)} steps."
                ) from None
    return packed


def unpack(packed: Bytes, count: int, bounds: ClipBounds, quantiser: Quantiser) -> Tensor:
    """The inverse of `pack`: shape (bounds.size,), with the dtype of `accumulator_dtype`.

    Guarantee:
        For all accepted bytes, `pack` of the result returns the same bytes. The norms are not checked here:
        `add_checked_` does that.

    Raises:
        ReplyRejected: for bytes of another length, and for bytes that `pack` returns for no sum.
    """
    total = torch.zeros(bounds.size, dtype=accumulator_dtype(count, quantiser))
    for begin, end, numbers in unpacked_blocks(packed, count, bounds, quantiser):
        total.numpy()[begin:end] = numbers
    return total


def unpacked_blocks(
    packed: Bytes, count: int, bounds: ClipBounds, quantiser: Quantiser
) -> Iterator[tuple[int, int, rice.Numbers]]:
    """`unpack` block by block: begin, end, and the block's numbers, which are valid until the next block.

    Every block is within one group of slices. Wrong bytes are refused when they are reached, which may be
    after the last block.
    """
    expected = packed_bytes(count, bounds, quantiser)
    if packed.dtype != np.uint8 or packed.shape != (expected,):
        raise ReplyRejected(
            f"Expected {expected} bytes for a sum of {count} updates, got {packed.shape} {packed.dtype}."
        )
    scratch = torch.empty(_BLOCK, dtype=accumulator_dtype(count, quantiser)).numpy()
    place = 0
    for group in _groups(count, bounds, quantiser):
        room = group.most_bytes + place
        for begin, end in group.blocks():
            place += _unpack_block(packed[place:room], group, scratch[: end - begin])
            yield begin, end, scratch[: end - begin]
    if packed[place:].any():
        raise ReplyRejected(f"the {expected - place} bytes after the last value are not all zero")


def _pack_block(numbers: rice.Numbers, group: _Group, out: Bytes) -> int:
    """Write one block to the beginning of `out`; returns the number of bytes written."""
    size = rice.encode(numbers, group.k, out[_LENGTH_BYTES:])
    unary = size - rice.fixed_bytes(len(numbers), group.k)
    out[:_LENGTH_BYTES] = np.array([unary], dtype="<u4").view(np.uint8)
    return _LENGTH_BYTES + size


def _unpack_block(packed: Bytes, group: _Group, out: rice.Numbers) -> int:
    """Read one block from the beginning of `packed`; returns the number of bytes read."""
    low = _LENGTH_BYTES + rice.fixed_bytes(len(out), group.k)
    length = int.from_bytes(packed[:_LENGTH_BYTES].tobytes(), "little")
    if length > group.unary_bytes(len(out)) or low + length > len(packed):
        raise ReplyRejected(f"a block of {len(out)} values claims {length} bytes, more than it can need")
    rice.decode(packed[_LENGTH_BYTES:low], packed[low : low + length], out, group.k)
    return low + length


def _twice_sum(size: int, squared_reach: int) -> int:
    """The largest sum of 2 |x| over `size` integers with this squared norm."""
    return math.isqrt(4 * size * squared_reach)


@lru_cache(maxsize=256)
def _groups(count: int, bounds: ClipBounds, quantiser: Quantiser) -> tuple[_Group, ...]:
    ranges = limited_ranges(bounds, quantiser)
    return tuple(_Group.of(begin, end, count * count * limit) for _, begin, end, limit in ranges)
