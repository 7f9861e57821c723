"""Sums of clipped updates from elsewhere: held to what honest nodes can send, and added."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from privacy.clipping import ClipBounds
from privacy.errors import ReplyRejected
from privacy.grid import Grid, squared_limits
from privacy.kernels import add_, squared_norm, take_back_
from privacy.validate import whole

# A sum of `count` integer vectors is held to count * bound by float64 arithmetic on squares up to 2**80.
_SQUARES_SLACK = 1 + 1e-9


def check_sum(total: torch.Tensor, count: int, bounds: ClipBounds, grid: Grid) -> None:
    """Refuse a sum that ``count`` clipped updates cannot have.

    Guarantee:
        By the triangle inequality a sum of ``count`` outputs of `clip_to_grid` always passes, and what passes
        moves the round's sum by no more than ``count`` honest updates could. It is a defence against broken
        or hostile nodes; nobody's privacy rests on it.

    Args:
        total: integer tensor of shape (d + k,), in grid steps.

    Raises:
        ReplyRejected: naming the first slice whose norm exceeds ``count`` times its bound, or the shape and
            dtype of what is no such sum. (A `ValueError` too.)
    """
    for limit in _limits(total, count, bounds, grid):
        limit.hold(squared_norm(total.numpy()[limit.begin : limit.end]))


def add_checked_(
    accumulator: torch.Tensor, total: torch.Tensor, count: int, bounds: ClipBounds, grid: Grid
) -> None:
    """Add what passes `check_sum` to the caller's own sum, in place.

    Both are done in one pass over memory: what turns out not to pass is taken back. Integers wrap around, so
    that this leaves every bit as it was.

    Args:
        accumulator: int32 or int64, shape (d + k,); see `accumulator_dtype`. The dtypes may differ.
        total: as for `check_sum`; only read.

    Raises:
        ReplyRejected: as `check_sum`; the accumulator is then what it was.
    """
    sums, values = accumulator.numpy(), total.numpy()
    for limit in _limits(total, count, bounds, grid):
        try:
            limit.hold(add_(sums[limit.begin : limit.end], values[limit.begin : limit.end]))
        except ReplyRejected:
            take_back_(sums[: limit.end], values[: limit.end])
            raise


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


def _limits(total: torch.Tensor, count: int, bounds: ClipBounds, grid: Grid) -> Iterator[_Limit]:
    """The limit of every slice, in order, of what has the form of a sum."""
    whole(count=count)
    if total.shape != (bounds.size,) or total.dtype not in (torch.int32, torch.int64):
        raise ReplyRejected(
            f"Expected a sum of {bounds.size} int32 or int64 values, got {tuple(total.shape)} {total.dtype}."
        )
    for group, limit in zip(bounds.groups, squared_limits(bounds, grid), strict=True):
        yield _Limit(
            begin=bounds.offsets[group.start],
            end=bounds.offsets[group.stop],
            squared=float(count * count * limit) * _SQUARES_SLACK,
            place=f"slice {group.start} of {len(bounds)}",
            count=count,
            step=grid.step,
        )
