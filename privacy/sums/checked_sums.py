"""Sums of clipped updates from nodes: checked against what honest nodes can send, and added."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from privacy.clipping.bounds import ClipBounds
from privacy.clipping.quantisation import Quantiser, limited_ranges
from privacy.errors import ReplyRejected
from privacy.kernels import add_, take_back_
from privacy.sums.packing import add_unpacked_
from privacy.sums.rice_blocks import Bytes
from privacy.validate import whole

# A sum of `count` integer vectors is held to count * bound by float64 arithmetic on squares up to 2**80.
_SQUARES_SLACK = 1 + 1e-9

Integers = npt.NDArray[np.signedinteger[Any]]


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
    _add_held_(accumulator, _numbers_of(total, bounds), _limits(count, bounds, quantiser))


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
    limits = _limits(count, bounds, quantiser)
    squared = [limit.squared for limit in limits]
    if beyond := add_unpacked_(accumulator, packed, count, bounds, quantiser, squared):
        group, norm = beyond
        limits[group].require_within(norm)


def _add_held_(accumulator: torch.Tensor, values: Integers, limits: Sequence[_Limit]) -> None:
    """Add each group in one pass. If a norm is refused, subtract all that was added again.

    Integers wrap around, so this restores every bit.
    """
    sums = accumulator.numpy()
    for added, limit in enumerate(limits, start=1):
        try:
            limit.require_within(add_(sums[limit.begin : limit.end], values[limit.begin : limit.end]))
        except ReplyRejected:
            for one in limits[:added]:
                take_back_(sums[one.begin : one.end], values[one.begin : one.end])
            raise


def _numbers_of(total: torch.Tensor, bounds: ClipBounds) -> Integers:
    """The sum as an array, if it has the shape and dtype of a sum."""
    if total.shape != (bounds.size,) or total.dtype not in (torch.int32, torch.int64):
        raise ReplyRejected(
            f"Expected a sum of {bounds.size} int32 or int64 values, got {tuple(total.shape)} {total.dtype}."
        )
    return total.numpy()


@lru_cache(maxsize=256, typed=True)
def _limits(count: int, bounds: ClipBounds, quantiser: Quantiser) -> tuple[_Limit, ...]:
    """The limit of every group of slices that is not empty, in order."""
    whole(count=count)
    return tuple(
        _Limit(
            begin=begin,
            end=end,
            squared=float(count * count * limit) * _SQUARES_SLACK,
            place=f"slice {first} of {len(bounds)}",
            count=count,
            step=quantiser.step,
        )
        for first, begin, end, limit in limited_ranges(bounds, quantiser)
    )
