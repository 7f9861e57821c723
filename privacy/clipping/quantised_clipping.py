"""Clipping to integers: what one speaker's update adds to a sum is never longer than C.

Rounding changes the norm of a slice of n values by at most ``step * sqrt(n) / 2``, so the clip aims at that
*margin* below the bound. Then the norm of what was added is counted exactly: here a sum of squares of
integers is exact in float64. A slice that exceeds its bound is taken back and made smaller. Norms are float64
for every dtype of the update.

An update is read twice, once for its norms and once to add it. Beside the caller's buffers no memory is
needed (a dtype other than float32 and float64 is converted first).
"""

import math
from itertools import pairwise
from typing import Any

import numpy.typing as npt
import torch

from privacy.clipping.bounds import ClipBounds
from privacy.clipping.quantisation import Quantiser, squared_limits
from privacy.kernels import add_rounded_, squared_norm

# float64 norms and factors have relative errors near 2**-50; this leaves room for them below the bound.
_FLOAT_ROOM = 1 - 2.0**-40

Reals = npt.NDArray[Any]
"""A contiguous vector of float32 or float64."""

Piece = tuple[int, int, float]
"""Begin and end of a slice, and the factor from its values to quantisation steps."""


def add_clipped_(
    accumulator: torch.Tensor, update: torch.Tensor, bounds: ClipBounds, quantiser: Quantiser
) -> float:
    """Clip one update, round it to whole steps, and add it to an integer sum, in place.

    Guarantee:
        What is added has a norm of at most ``2**bits`` steps, which is C, for every input of every real dtype
        and for all bounds, whichever clip rule they come from. Each group's norm is within the group's bound.
        An update with an entry that is not finite adds nothing. The update itself is only read.

    Args:
        accumulator: the caller's int32 or int64 sum, shape (d + k,); see `accumulator_dtype`.
        update: shape (d + k,), any real dtype: the model's coordinates, then those of statistics and
            indicators.
        bounds: the clip bounds.
        quantiser: the quantiser of these bounds.

    Returns:
        The share of the model's slices whose norm exceeded their bound; 0 for an update that adds nothing.
    """
    values = _reals(update, bounds)
    _check_accumulator(accumulator, bounds)
    limits = squared_limits(bounds, quantiser)
    norms = _slice_norms(values, bounds)
    if not all(map(math.isfinite, norms)):
        return 0.0
    sums = accumulator.numpy()
    for group, limit in zip(bounds.groups, limits, strict=True):
        pieces = _pieces(group, norms, bounds, quantiser)
        while _add_pieces(sums, values, pieces) > limit:
            _add_pieces(sums, values, _scaled(pieces, -1))
            pieces = _scaled(pieces, 1 / 2)
    return _share_above(norms, bounds)


def _reals(update: torch.Tensor, bounds: ClipBounds) -> Reals:
    """The update's own memory if it is float32 or float64 on the CPU, else a copy (float64)."""
    if update.shape != (bounds.size,) or update.is_complex():
        raise ValueError(
            f"Expected an update of {bounds.size} real values, got {tuple(update.shape)} {update.dtype}."
        )
    as_it_is = update.dtype in (torch.float32, torch.float64)
    values = update.detach().to("cpu", update.dtype if as_it_is else torch.float64)
    return values.contiguous().numpy()


def _check_accumulator(accumulator: torch.Tensor, bounds: ClipBounds) -> None:
    if accumulator.shape != (bounds.size,) or accumulator.dtype not in (torch.int32, torch.int64):
        raise ValueError(
            f"Expected an int32 or int64 accumulator of {bounds.size} values, got "
            f"{tuple(accumulator.shape)} {accumulator.dtype}."
        )


def _slice_norms(values: Reals, bounds: ClipBounds) -> list[float]:
    return [math.sqrt(squared_norm(values[begin:end])) for begin, end in pairwise(bounds.offsets)]


def _share_above(norms: list[float], bounds: ClipBounds) -> float:
    model = range(bounds.model_slices)
    return sum(norms[index] > bounds.bounds[index] for index in model) / len(model)


def _pieces(group: range, norms: list[float], bounds: ClipBounds, quantiser: Quantiser) -> list[Piece]:
    """Scale each slice of a group to its own bound if the group's norm exceeds the group's bound.

    No value comes near 2**31 steps: a scaled group's norm is below its bound, which is at most 2**24 steps.
    """
    borders = [(bounds.offsets[index], bounds.offsets[index + 1]) for index in group]
    aim = (bounds.group_bound(group) - quantiser.margin(bounds.group_size(group))) * _FLOAT_ROOM
    if math.hypot(*(norms[index] for index in group)) <= aim:
        return [(begin, end, 1 / quantiser.step) for begin, end in borders]
    pieces: list[Piece] = []
    for index, (begin, end) in zip(group, borders, strict=True):
        aim = max(0.0, bounds.bounds[index] - quantiser.margin(end - begin)) * _FLOAT_ROOM
        pieces.append((begin, end, aim / norms[index] / quantiser.step if norms[index] else 0.0))
    return pieces


def _scaled(pieces: list[Piece], by: float) -> list[Piece]:
    return [(begin, end, factor * by) for begin, end, factor in pieces]


def _add_pieces(sums: npt.NDArray[Any], values: Reals, pieces: list[Piece]) -> float:
    """Add the pieces; return the squared norm, in steps, of what was added."""
    return math.fsum(
        add_rounded_(sums[begin:end], values[begin:end], factor) for begin, end, factor in pieces
    )
