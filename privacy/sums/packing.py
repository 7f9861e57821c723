"""A node's sum on the grid as bytes, losslessly, in a number of bytes that says nothing about the sum.

What a general compressor makes of a sum is the longer the more there was to learn: the length would be an
un-noised function of the speech, in the open to whoever watches the network or reads a run's metrics. Here it
follows from public numbers alone. Every group of slices is held to a norm of `count` times its bound, so by
Cauchy and Schwarz its absolute values add up to at most L = sqrt(size) * count * bound, and a Golomb-Rice
code with k low bits takes at most size * (k + 1) + 2 L / 2**k bits. The k that makes this least is taken, and
the bytes are filled up to it with zeros. For one update at its bounds that is within a bit per value of the
entropy of a Gaussian (benchmarks/traffic.md).

The layout: for each block of 32,768 values of each group, 4 bytes with the length of its unary part
(little-endian), the low bits, the unary part; then zeros.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

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
    """Where a group lies, how many low bits its code has and how far its sum can reach."""

    begin: int
    end: int
    k: int
    squared_reach: int  # of the norm of the group's sum, in steps

    @classmethod
    def of(cls, begin: int, end: int, squared_reach: int) -> _Group:
        bits = [
            k * (end - begin) + (_twice_sum(end - begin, squared_reach) >> k)
            for k in range(squared_reach.bit_length() // 2 + 2)
        ]
        return cls(begin, end, bits.index(min(bits)), squared_reach)

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Where each block begins and ends."""
        for begin in range(self.begin, self.end, _BLOCK):
            yield begin, min(begin + _BLOCK, self.end)

    def unary_bytes(self, size: int) -> int:
        """The most that the unary part of `size` of the group's values can take."""
        return (size + (_twice_sum(size, self.squared_reach) >> self.k) + 7) // 8

    def most_bytes(self) -> int:
        """The most that the group can take: a part of a byte may be lost in each block."""
        fixed = sum(_LENGTH_BYTES + 1 + rice.fixed_bytes(end - begin, self.k) for begin, end in self.blocks())
        return fixed + self.unary_bytes(self.end - self.begin)


def packed_bytes(count: int, bounds: ClipBounds, quantiser: Quantiser) -> int:
    """The length of every `pack`ed sum of `count` updates: a function of public numbers."""
    return sum(group.most_bytes() for group in _groups(count, bounds, quantiser))


def pack(total: Tensor, count: int, bounds: ClipBounds, quantiser: Quantiser) -> Bytes:
    """The sum (bounds.size,) of `count` clipped updates, in grid steps, as `packed_bytes` bytes.

    Raises:
        ValueError: If the sum does not fit the bytes, as one of `count` clipped updates always does.
    """
    packed = np.zeros(packed_bytes(count, bounds, quantiser), dtype=np.uint8)
    held = total.to(accumulator_dtype(count, quantiser))
    if held.dtype != total.dtype and not torch.equal(held.to(total.dtype), total):
        raise ValueError(f"A sum of {count} clipped updates has no value beyond {held.dtype}, this one has.")
    numbers = held.numpy()
    place = 0
    for group in _groups(count, bounds, quantiser):
        room = group.most_bytes() + place
        for begin, end in group.blocks():
            try:
                place += _pack_block(numbers[begin:end], group, packed[place:room])
            except ValueError:
                raise ValueError(
                    f"Coordinates {group.begin} to {group.end - 1} are no sum of {count} clipped updates: "
                    f"its norm is at most {math.isqrt(group.squared_reach)} steps."
                ) from None
    return packed


def unpack(packed: Bytes, count: int, bounds: ClipBounds, quantiser: Quantiser) -> Tensor:
    """The inverse of `pack`: int32 or int64 (bounds.size,), as `accumulator_dtype` has it.

    Guarantee:
        What it takes, `pack` gives back bit for bit. The norms are not checked: `add_checked_` does that.

    Raises:
        ReplyRejected: For bytes of another length, and for bytes that `pack` gives for no sum.
    """
    total = torch.zeros(bounds.size, dtype=accumulator_dtype(count, quantiser))
    for begin, end, numbers in unpacked_blocks(packed, count, bounds, quantiser):
        total.numpy()[begin:end] = numbers
    return total


def unpacked_blocks(
    packed: Bytes, count: int, bounds: ClipBounds, quantiser: Quantiser
) -> Iterator[tuple[int, int, rice.Numbers]]:
    """`unpack` a block at a time: where it begins and ends, and its numbers, which hold until the next.

    No block reaches beyond a group of slices. Bytes are refused as soon as they are met, which may be after
    the last block.
    """
    expected = packed_bytes(count, bounds, quantiser)
    if packed.dtype != np.uint8 or packed.shape != (expected,):
        raise ReplyRejected(
            f"Expected {expected} bytes for a sum of {count} updates, got {packed.shape} {packed.dtype}."
        )
    scratch = torch.empty(_BLOCK, dtype=accumulator_dtype(count, quantiser)).numpy()
    place = 0
    for group in _groups(count, bounds, quantiser):
        room = group.most_bytes() + place
        for begin, end in group.blocks():
            place += _unpack_block(packed[place:room], group, scratch[: end - begin])
            yield begin, end, scratch[: end - begin]
    if packed[place:].any():
        raise ReplyRejected(f"the {expected - place} bytes after the last value are not all zero")


def _pack_block(numbers: rice.Numbers, group: _Group, out: Bytes) -> int:
    """Write one block to the beginning of `out`; returns how many bytes it took."""
    size = rice.encode(numbers, group.k, out[_LENGTH_BYTES:])
    unary = size - rice.fixed_bytes(len(numbers), group.k)
    out[:_LENGTH_BYTES] = np.array([unary], dtype="<u4").view(np.uint8)
    return _LENGTH_BYTES + size


def _unpack_block(packed: Bytes, group: _Group, out: rice.Numbers) -> int:
    """Read one block from the beginning of `packed`; returns how many bytes it took."""
    low = _LENGTH_BYTES + rice.fixed_bytes(len(out), group.k)
    length = int.from_bytes(packed[:_LENGTH_BYTES].tobytes(), "little")
    if length > group.unary_bytes(len(out)) or low + length > len(packed):
        raise ReplyRejected(f"a block of {len(out)} values claims {length} bytes: more than it can need")
    rice.decode(packed[_LENGTH_BYTES:low], packed[low : low + length], out, group.k)
    return low + length


def _twice_sum(size: int, squared_reach: int) -> int:
    """The most that 2 |x| can add up to over `size` whole numbers of this squared norm."""
    return math.isqrt(4 * size * squared_reach)


@lru_cache(maxsize=256)
def _groups(count: int, bounds: ClipBounds, quantiser: Quantiser) -> tuple[_Group, ...]:
    ranges = limited_ranges(bounds, quantiser)
    return tuple(_Group.of(begin, end, count * count * limit) for _, begin, end, limit in ranges)
