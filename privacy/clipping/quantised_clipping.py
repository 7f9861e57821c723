"""Clipping to integers: what one speaker's update adds to a sum is never longer than C.

Rounding changes the norm of a slice of n values by at most ``step * sqrt(n) / 2``, so the clip aims at that
*margin* below the bound. Then the norm of what was added is counted exactly: here a sum of squares of
integers is exact in float64. A slice that exceeds its bound is taken back and made smaller. Norms are float64
for every dtype of the update.

An update is read twice, once for its norms and once to add it. Beside the caller's buffers no memory is
needed (a dtype other than float32 and float64 is converted first).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from privacy.clipping.bounds import ClipBounds
from privacy.clipping.quantisation import Quantiser, squared_limits
from privacy.kernels import add_rounded_, squared_norms_

# float64 norms and factors have relative errors near 2**-50; this leaves room for them below the bound.
_FLOAT_ROOM = 1 - 2.0**-40

Reals = npt.NDArray[Any]
"""A contiguous vector of float32 or float64."""


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
    aims, sums = _aims(bounds, quantiser), accumulator.numpy()
    squared = np.empty(len(bounds))
    squared_norms_(values, aims.offsets, squared)
    norms = np.sqrt(squared).tolist()
    if not all(map(math.isfinite, norms)):
        return 0.0
    factors = np.array(aims.factors(norms))
    add_rounded_(sums, values, aims.offsets, factors, squared)
    for group, limit in zip(bounds.groups, aims.limits, strict=True):
        of_group, offsets = slice(group.start, group.stop), aims.offsets[group.start : group.stop + 1]
        while math.fsum(squared[of_group]) > limit:
            add_rounded_(sums, values, offsets, -factors[of_group], squared[of_group])
            factors[of_group] /= 2
            add_rounded_(sums, values, offsets, factors[of_group], squared[of_group])
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


def _share_above(norms: list[float], bounds: ClipBounds) -> float:
    model = range(bounds.model_slices)
    return sum(norms[index] > bounds.bounds[index] for index in model) / len(model)


@dataclass(frozen=True, kw_only=True)
class _Aims:
    """What a clip aims at, below its bounds by the margin of rounding.

    Attributes:
        groups: The slices of each group.
        of_groups: The largest norm of each group that is not scaled.
        of_slices: The norm to which each slice of another group is scaled.
        limits: The largest squared norm of what a group adds, in steps.
        offsets: Where slices begin and end.
        step: Of the quantiser.
    """

    groups: tuple[range, ...]
    of_groups: tuple[float, ...]
    of_slices: tuple[float, ...]
    limits: tuple[int, ...]
    offsets: npt.NDArray[np.int64]
    step: float

    def factors(self, norms: Sequence[float]) -> list[float]:
        """The number of steps per unit of each slice: the slices of a group beyond its aim are scaled.

        No value comes near 2**31 steps: a scaled group's norm is below its bound, which is at most 2**24
        steps.
        """
        found: list[float] = []
        for group, aim in zip(self.groups, self.of_groups, strict=True):
            if math.hypot(*norms[group.start : group.stop]) <= aim:
                found += [1 / self.step] * len(group)
            else:
                scaled = ((self.of_slices[index], norms[index]) for index in group)
                found += [wanted / norm / self.step if norm else 0.0 for wanted, norm in scaled]
        return found


@lru_cache(maxsize=64)
def _aims(bounds: ClipBounds, quantiser: Quantiser) -> _Aims:
    slices = zip(bounds.bounds, pairwise(bounds.offsets), strict=True)
    return _Aims(
        groups=bounds.groups,
        of_groups=tuple(
            (bounds.group_bound(group) - quantiser.margin(bounds.group_size(group))) * _FLOAT_ROOM
            for group in bounds.groups
        ),
        of_slices=tuple(
            max(0.0, bound - quantiser.margin(end - begin)) * _FLOAT_ROOM for bound, (begin, end) in slices
        ),
        limits=squared_limits(bounds, quantiser),
        offsets=np.array(bounds.offsets, dtype=np.int64),
        step=quantiser.step,
    )
