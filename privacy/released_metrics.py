"""Statistics of the training that are part of the noised sum, so that no metric leaves without noise.

The released vector has the model's coordinates and then a few statistics, a slice with a bound of its own
(`ClipBounds.of(..., statistics=k)`). Each speaker's value is mapped to [-1, 1] and scaled so that the norm of
the slice stays within that bound. So the metrics share the round's one Gaussian release and its accounting.
`privacy.group_statistics` says which statistics a run has.

Guarantee: the k statistics of one speaker have a norm of at most the bound of their slice, for all values and
every k. (A value that is not finite counts as 0, the middle of its range.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from privacy.clipping.bounds import ClipBounds
from privacy.clipping.quantisation import Quantiser, squared_limits
from privacy.validate import finite


@dataclass(frozen=True, kw_only=True)
class Statistic:
    """One scalar per speaker, clamped to [`low`, `high`].

    Raises:
        ValueError: unless `low` is below `high` and both are finite.

    Example:
        >>> loss = Statistic(name="loss", low=0.0, high=10.0)
        >>> loss.to_unit(7.5), loss.to_unit(99.0), loss.from_unit(0.5)
        (0.5, 1.0, 7.5)
    """

    name: str
    low: float
    high: float

    def __post_init__(self) -> None:
        if not finite(low=self.low) < finite(high=self.high):
            raise ValueError(f"statistic {self.name}: low={self.low} must be below high={self.high}")

    def to_unit(self, value: float) -> float:
        """`value` as a number in [-1, 1]."""
        if not math.isfinite(value):
            return 0.0
        clamped = min(max(value, self.low), self.high)
        return 2 * (clamped - self.low) / (self.high - self.low) - 1

    def from_unit(self, unit: float) -> float:
        """The inverse of `to_unit`. With noise the result may be outside the range."""
        return self.low + (unit + 1) / 2 * (self.high - self.low)


CLIPPED_SHARE = Statistic(name="clipped_share", low=0.0, high=1.0)
TRAIN_LOSS = Statistic(name="train_loss", low=0.0, high=10.0)
STATISTICS = (CLIPPED_SHARE, TRAIN_LOSS)
"""Those of every run."""


def add_statistics_(
    accumulator: Tensor,
    values: Sequence[float],
    bounds: ClipBounds,
    quantiser: Quantiser,
    statistics: Sequence[Statistic] = STATISTICS,
) -> None:
    """Add one speaker's `values` (in the order of `statistics`) to the accumulator's statistics, in place.

    Rounding is towards zero, so the slice's integer norm is at most its bound in steps.
    """
    scale = unit_in_steps(bounds, quantiser)
    integers = [
        math.trunc(statistic.to_unit(value) * scale)
        for statistic, value in zip(statistics, values, strict=True)
    ]
    accumulator[bounds.statistics_part] += torch.tensor(integers, dtype=accumulator.dtype)


def read_statistics(
    released: Tensor,
    cohort: float,
    bounds: ClipBounds,
    quantiser: Quantiser,
    statistics: Sequence[Statistic] = STATISTICS,
) -> dict[str, float]:
    """The noisy mean of each statistic over a round's speakers, by its name.

    Args:
        released: shape (k,), the statistics of the released sum, in steps.
        cohort: the public expected cohort S; never the number of drawn speakers, which the sampling keeps
            secret.
        bounds: the bounds that the round clipped by.
        quantiser: the round's quantiser.
        statistics: the k statistics, in the order of the vector.
    """
    scale = unit_in_steps(bounds, quantiser) * cohort
    return {
        statistic.name: statistic.from_unit(float(value) / scale)
        for statistic, value in zip(statistics, released, strict=True)
    }


def unit_in_steps(bounds: ClipBounds, quantiser: Quantiser) -> int:
    """The number of steps of 1, rounded down so that all k statistics together stay within their bound."""
    group = len(bounds.groups) - 1 - bool(bounds.indicators)
    return math.isqrt(squared_limits(bounds, quantiser)[group] // bounds.statistics)
