"""Clip bounds that follow a quantile of the updates' norms, from noised bits (Andrew et al. 2021).

For each slice h of the model a speaker contributes one bit: b_h = 1 if the norm of the slice is within C_h
(it is *not* clipped). The bits are centred, b_h - 1/2, and are one further slice of the released vector, the
*indicators*, in the round's one Gaussian release. Their slice has the bound C_b: each of the H centred bits
is plus or minus C_b / sqrt(H). After the release, from released values only,

    fraction_h = noised sum of centred bits / S + 1/2        C_h <- C_h exp(-rate (fraction_h - quantile))

with the public expected cohort S. A bound falls if too many updates are within it. The noise of a round
belongs to the bounds that the round clipped by; the new bounds hold from the next round on.

**The split of z is exact.** The published rule gives the bits noise of standard deviation sigma_b, and gives
the update a larger multiplier z_update, with 1/z^2 = 1/z_update^2 + H / (4 sigma_b^2). Here the whole release
has the bound C = sqrt(C_model^2 + C_b^2) (and the statistics) under noise z C. In units of the bits this is
sigma_b = z C sqrt(H) / (2 C_b); in units of the model's bound it is z_update = z C / C_model. With these the
published rule is the Pythagorean theorem. Nothing is subtracted from z; the model's bound shrinks instead.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from privacy.clipping.bounds import ClipBounds
from privacy.clipping.quantisation import Quantiser, squared_limits
from privacy.validate import open_probability, positive

_SMALLEST_BOUND, _LARGEST_BOUND = 1e-12, 1e12


def unclipped_slices(update: torch.Tensor, bounds: ClipBounds) -> tuple[bool, ...] | None:
    """For each slice of the model, whether the update's norm is within the slice's bound.

    Args:
        update: one dimension; the model's d coordinates come first.
        bounds: the clip bounds.

    Returns:
        One bit per slice; None for an update with an entry that is not finite, which counts as zero.
    """
    borders = zip(bounds.offsets, bounds.offsets[1 : bounds.model_slices + 1], strict=False)
    norms = [
        float(torch.linalg.vector_norm(update[begin:end], dtype=torch.float64)) for begin, end in borders
    ]
    if not all(map(math.isfinite, norms)):
        return None
    return tuple(norm <= bound for norm, bound in zip(norms, bounds.bounds, strict=False))


def add_indicators_(
    accumulator: torch.Tensor, unclipped: Sequence[bool] | None, bounds: ClipBounds, quantiser: Quantiser
) -> None:
    """Add one speaker's centred bits to the accumulator's indicators, in place; None adds nothing.

    Guarantee:
        What is added has a norm of at most the indicators' bound, exactly, in whole quantisation steps.
    """
    if unclipped is None:
        return
    half = half_bit_in_steps(bounds, quantiser)
    bits = [half if inside else -half for inside in unclipped]
    accumulator[bounds.indicators_part] += torch.tensor(bits, dtype=accumulator.dtype)


@dataclass(frozen=True, kw_only=True)
class QuantileClip:
    """The rule by which bounds adapt: to which quantile of the norms, and how fast.

    Args:
        quantile: gamma, the share of updates that should be within their bound; in (0, 1).
        rate: eta, the maximum change of log(bound) per round.

    Example:
        >>> from privacy.layout import LayerLayout
        >>> bounds = ClipBounds.of("global", 1.0, LayerLayout.of({"weight": (6,)}), adaptive=True)
        >>> quantiser, all_within = Quantiser.of(bounds), (True,)
        >>> sums = torch.zeros(bounds.size, dtype=torch.int64)
        >>> add_indicators_(sums, all_within, bounds, quantiser)  # one speaker, not clipped
        >>> clip = QuantileClip(quantile=0.5, rate=0.2)
        >>> after = clip.next_bounds(sums[bounds.indicators_part], 1.0, bounds, quantiser)
        >>> round(after.total, 4)  # exp(-0.2 * (1 - 0.5))
        0.9048
    """

    quantile: float = 0.5
    rate: float = 0.2

    def __post_init__(self) -> None:
        open_probability(quantile=self.quantile)
        positive(rate=self.rate)

    def fractions(
        self, released: torch.Tensor, cohort: float, bounds: ClipBounds, quantiser: Quantiser
    ) -> list[float]:
        """The noised share of updates within their bound, per slice, limited to [0, 1].

        Args:
            released: shape (H,), the indicators of the noised sum, in quantisation steps.
            cohort: the public expected cohort S; never the number of speakers that took part.
            bounds: the bounds that the round clipped by.
            quantiser: the round's quantiser.
        """
        full = 2 * half_bit_in_steps(bounds, quantiser) * cohort
        return [min(1.0, max(0.0, float(value) / full + 0.5)) for value in released]

    def next_bounds(
        self, released: torch.Tensor, cohort: float, bounds: ClipBounds, quantiser: Quantiser
    ) -> ClipBounds:
        """The bounds of the next round.

        Guarantee:
            The result is a function of released values and public numbers only: post-processing. Statistics
            and indicators keep their shares of the total. No bound falls below twice its rounding margin.

        Args:
            released: as for `fractions`.
            cohort: as for `fractions`.
            bounds: as for `fractions`.
            quantiser: as for `fractions`.
        """
        fractions = self.fractions(released, cohort, bounds, quantiser)
        moved = [
            min(max(bound * math.exp(-self.rate * (share - self.quantile)), _SMALLEST_BOUND), _LARGEST_BOUND)
            for bound, share in zip(bounds.bounds, fractions, strict=False)
        ]
        total = bounds.with_model_bounds(moved).total
        sizes = [bounds.group_size(range(index, index + 1)) for index in range(bounds.model_slices)]
        floors = [total * math.sqrt(size) / 2**quantiser.bits for size in sizes]  # twice the rounding margin
        return bounds.with_model_bounds(list(map(max, moved, floors)))


def half_bit_in_steps(bounds: ClipBounds, quantiser: Quantiser) -> int:
    """The size of a centred bit in steps, rounded down so that all bits together stay within their bound."""
    return math.isqrt(squared_limits(bounds, quantiser)[-1] // bounds.indicators)
