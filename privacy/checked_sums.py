"""Sums of clipped updates from elsewhere: held to what honest nodes can send, then added."""

import math

import torch

from privacy.clipping import ClipBounds
from privacy.errors import ReplyRejected
from privacy.grid import Grid, squared_limits
from privacy.kernels import add_, squared_norm
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
    whole(count=count)
    if total.shape != (bounds.size,) or total.dtype not in (torch.int32, torch.int64):
        raise ReplyRejected(
            f"Expected a sum of {bounds.size} int32 or int64 values, got {tuple(total.shape)} {total.dtype}."
        )
    values = total.numpy()
    for group, limit in zip(bounds.groups, squared_limits(bounds, grid), strict=True):
        begin, end = bounds.offsets[group.start], bounds.offsets[group.stop]
        squared, allowed = squared_norm(values[begin:end]), float(count * count * limit) * _SQUARES_SLACK
        if squared > allowed:
            raise ReplyRejected(
                f"Coordinates {begin} to {end - 1} of the sum (slice {group.start} of {len(bounds)}) have "
                f"norm {math.sqrt(squared) * grid.step:.6g}, but {count} clipped updates reach at most "
                f"{math.sqrt(allowed) * grid.step:.6g}."
            )


def add_checked_(
    accumulator: torch.Tensor, total: torch.Tensor, count: int, bounds: ClipBounds, grid: Grid
) -> None:
    """`check_sum`, and only then add to the caller's own sum, in place.

    Args:
        accumulator: int32 or int64, shape (d + k,); see `accumulator_dtype`. The dtypes may differ.
        total: as for `check_sum`; only read.
    """
    check_sum(total, count, bounds, grid)
    add_(accumulator.numpy(), total.numpy())
