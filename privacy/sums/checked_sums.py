"""Sums of clipped updates from nodes: checked against what honest nodes can send, and added."""

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
Block = tuple[int, int, Integers]  # begin, end, values


@dataclass(frozen=True, kw_only=True)
class _Limit:
    """The limit on the sum of one group of slices."""

    begin: int
    end: int
    squared: float
    place: str
    count: int
    step: float

    def require_within(self, squared: float) -> None:
        if squared > self.squared:
            raise ReplyRejected(
                f"Coordinates {self.begin} to {self.end - 1} of the sum ({self.place}) have "
                f"norm {math.sqrt(squared) * self.step:.6g}, but {self.count} clipped updates reach at most "
                f"{math.sqrt(self.squared) * self.step:.6g}."
            )


def add_checked_(
    accumulator: torch.Tensor, total: torch.Tensor, count: int, bounds: ClipBounds, quantiser: Quantiser
) -> None:
    """Check that a sum can come from ``count`` clipped updates, and add it to the caller's own sum, in place.

    Guarantee:
        By the triangle inequality a sum of ``count`` updates by `add_clipped_` always passes. A sum that
        passes changes the round's sum by no more than ``count`` honest updates could. This is a defence
        against broken or hostile nodes; no speaker's privacy depends on it.

    Args:
        accumulator: int32 or int64, shape (d + k,); see `accumulator_dtype`.
        total: int32 or int64, shape (d + k,), in steps; only read. The two dtypes may differ.
        count: the number of updates in ``total``.
        bounds: the clip bounds.
        quantiser: the quantiser of these bounds.

    Raises:
        ReplyRejected: naming the first slice whose norm exceeds ``count`` times its bound, or a wrong shape
            or dtype. The accumulator is then unchanged. (It is a `ValueError` too.)
    """
    values, limits = _numbers_of(total, bounds), _limits(count, bounds, quantiser)
    slices = [(limit.begin, limit.end, values[limit.begin : limit.end]) for limit in limits]
    _add_held_(accumulator, lambda: slices, limits)


def add_packed_(
    accumulator: torch.Tensor, packed: Bytes, count: int, bounds: ClipBounds, quantiser: Quantiser
) -> None:
    """Unpack a sum and add it like `add_checked_`, block by block: no memory of the model's size.

    Args:
        accumulator: as for `add_checked_`.
        packed: the bytes that `pack` made.
        count: as for `add_checked_`.
        bounds: as for `add_checked_`.
        quantiser: as for `add_checked_`.

    Raises:
        ReplyRejected: as for `unpack` and `add_checked_`; the accumulator is then unchanged.
    """
    _add_held_(
        accumulator,
        lambda: unpacked_blocks(packed, count, bounds, quantiser),
        _limits(count, bounds, quantiser),
    )


def _add_held_(
    accumulator: torch.Tensor, blocks: Callable[[], Iterable[Block]], limits: Sequence[_Limit]
) -> None:
    """Add every block in one pass. If a block or a slice's norm is refused, subtract all added blocks again.

    Integers wrap around, so this restores every bit.
    """
    sums, squared, added, coming = accumulator.numpy(), 0.0, 0, iter(limits)
    limit = next(coming, None)
    try:
        for begin, end, numbers in blocks():
            squared += add_(sums[begin:end], numbers)
            added = end
            if limit and end == limit.end:
                limit.require_within(squared)
                squared, limit = 0.0, next(coming, None)
    except ReplyRejected:
        for begin, end, numbers in blocks() if added else ():
            take_back_(sums[begin:end], numbers)
            if end == added:
                break
        raise


def _numbers_of(total: torch.Tensor, bounds: ClipBounds) -> Integers:
    """The sum as an array, if it has the shape and dtype of a sum."""
    if total.shape != (bounds.size,) or total.dtype not in (torch.int32, torch.int64):
        raise ReplyRejected(
            f"Expected a sum of {bounds.size} int32 or int64 values, got {tuple(total.shape)} {total.dtype}."
        )
    return total.numpy()


def _limits(count: int, bounds: ClipBounds, quantiser: Quantiser) -> list[_Limit]:
    """The limit of every group of slices that is not empty, in order."""
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
