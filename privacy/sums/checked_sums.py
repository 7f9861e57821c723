"""Sums of clipped updates from elsewhere: held to what honest nodes can send, and added."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from privacy.clipping.bounds import ClipBounds
from privacy.clipping.quantisation import Quantiser, limited_ranges
from privacy.errors import ReplyRejected
from privacy.kernels import add_, take_back_
from privacy.sums.packing import unpacked_blocks
from privacy.sums.rice import Bytes
from privacy.validate import whole

# A sum of `count` integer vectors is held to count * bound by float64 arithmetic on squares up to 2**80.
_SQUARES_SLACK = 1 + 1e-9

Integers = npt.NDArray[np.signedinteger[Any]]
Block = tuple[int, int, Integers]  # where it begins and ends, and its values


@dataclass(frozen=True, kw_only=True)
class _Limit:
    """What the sum of one slice is held to."""

    begin: int
    end: int
    squared: float
    place: str
    count: int
    step: float

    def hold(self, squared: float) -> None:
        if squared > self.squared:
            raise ReplyRejected(
                f"Coordinates {self.begin} to {self.end - 1} of the sum ({self.place}) have "
                f"norm {math.sqrt(squared) * self.step:.6g}, but {self.count} clipped updates reach at most "
                f"{math.sqrt(self.squared) * self.step:.6g}."
            )


def add_checked_(
    accumulator: torch.Tensor, total: torch.Tensor, count: int, bounds: ClipBounds, quantiser: Quantiser
) -> None:
    """Add to the caller's own sum, in place, a sum that ``count`` clipped updates can have.

    Guarantee:
        By the triangle inequality what `add_clipped_` added of ``count`` updates always passes, and what
        passes moves the round's sum by no more than ``count`` honest updates could. It is a defence against
        broken or hostile nodes; nobody's privacy rests on it.

    Args:
        accumulator: int32 or int64, shape (d + k,); see `accumulator_dtype`. The dtypes may differ.
        total: int32 or int64, shape (d + k,), in grid steps; only read.

    Raises:
        ReplyRejected: naming the first slice whose norm exceeds ``count`` times its bound, or the shape and
            dtype of what is no such sum; the accumulator is then what it was. (A `ValueError` too.)
    """
    values, limits = _numbers_of(total, bounds), _limits(count, bounds, quantiser)
    slices = [(limit.begin, limit.end, values[limit.begin : limit.end]) for limit in limits]
    _add_held_(accumulator, lambda: slices, limits)


def add_packed_(
    accumulator: torch.Tensor, packed: Bytes, count: int, bounds: ClipBounds, quantiser: Quantiser
) -> None:
    """`add_checked_` of what `unpack` makes of the bytes, but a block at a time: never of a model's size.

    Raises:
        ReplyRejected: as `unpack` and `add_checked_`; the accumulator is then what it was.
    """
    _add_held_(
        accumulator,
        lambda: unpacked_blocks(packed, count, bounds, quantiser),
        _limits(count, bounds, quantiser),
    )


def _add_held_(
    accumulator: torch.Tensor, blocks: Callable[[], Iterable[Block]], limits: Sequence[_Limit]
) -> None:
    """Add every block in one pass; take all of it back once a block, or what is in a slice, is refused.

    Integers wrap around, so that this leaves every bit as it was.
    """
    sums, squared, added, coming = accumulator.numpy(), 0.0, 0, iter(limits)
    limit = next(coming, None)
    try:
        for begin, end, numbers in blocks():
            squared += add_(sums[begin:end], numbers)
            added = end
            if limit and end == limit.end:
                limit.hold(squared)
                squared, limit = 0.0, next(coming, None)
    except ReplyRejected:
        for begin, end, numbers in blocks() if added else ():
            take_back_(sums[begin:end], numbers)
            if end == added:
                break
        raise


def _numbers_of(total: torch.Tensor, bounds: ClipBounds) -> Integers:
    """What has the form of a sum, as an array."""
    if total.shape != (bounds.size,) or total.dtype not in (torch.int32, torch.int64):
        raise ReplyRejected(
            f"Expected a sum of {bounds.size} int32 or int64 values, got {tuple(total.shape)} {total.dtype}."
        )
    return total.numpy()


def _limits(count: int, bounds: ClipBounds, quantiser: Quantiser) -> list[_Limit]:
    """The limit of every slice that has values, in order."""
    whole(count=count)
    return [
        _Limit(
            begin=begin,
            end=end,
            squared=float(count * count * limit) * _SQUARES_SLACK,
            place=f"slice {first} of {len(bounds)}",
            count=count,
            step=quantiser.step,
        )
        for first, begin, end, limit in limited_ranges(bounds, quantiser)
    ]
