"""Scalars about the training that ride in the noised sum, so that no metric leaves un-noised.

The released vector is the model's coordinates followed by a few statistics coordinates, a slice with
a bound of its own (`ClipBounds.of(..., statistics=k)`). Each speaker's value is mapped to [-1, 1] and
scaled so that the slice's norm stays within that bound; so the metrics share the round's one Gaussian
release and its accounting.

Guarantee: the statistics of one speaker have norm at most the bound of their slice, whatever the
values are (a value that is not finite counts as 0, the middle of its range).
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
    """One scalar per speaker, clamped to [`low`, `high`]."""

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
        """The inverse of `to_unit`; noise may carry it out of the range."""
        return self.low + (unit + 1) / 2 * (self.high - self.low)


CLIPPED_SHARE = Statistic(name="clipped_share", low=0.0, high=1.0)
TRAIN_LOSS = Statistic(name="train_loss", low=0.0, high=10.0)
STATISTICS = (CLIPPED_SHARE, TRAIN_LOSS)


def add_statistics_(
    accumulator: Tensor, values: Sequence[float], bounds: ClipBounds, quantiser: Quantiser
) -> None:
    """Add one speaker's `values` (in the order of `STATISTICS`) to the accumulator's statistics.

    Rounding is towards zero, so the slice's integer norm is at most its bound in grid steps.
    """
    scale = unit_in_steps(bounds, quantiser)
    integers = [
        math.trunc(statistic.to_unit(value) * scale)
        for statistic, value in zip(STATISTICS, values, strict=True)
    ]
    accumulator[bounds.statistics_part] += torch.tensor(integers, dtype=accumulator.dtype)


def read_statistics(
    released: Tensor, cohort: float, bounds: ClipBounds, quantiser: Quantiser
) -> dict[str, float]:
    """The noisy mean of each statistic over a round's speakers.

    Args:
        released (Tensor): (k,) the statistics of the released sum, in grid steps.
        cohort (float): The public expected cohort S; never how many were drawn, which is a secret of the
            sampling.
    """
    scale = unit_in_steps(bounds, quantiser) * cohort
    return {
        statistic.name: statistic.from_unit(float(value) / scale)
        for statistic, value in zip(STATISTICS, released, strict=True)
    }


def unit_in_steps(bounds: ClipBounds, quantiser: Quantiser) -> int:
    """What 1 is in whole steps, rounded down so that all statistics together stay within their bound."""
    group = len(bounds.groups) - 1 - bool(bounds.indicators)
    return math.isqrt(squared_limits(bounds, quantiser)[group] // len(STATISTICS))
