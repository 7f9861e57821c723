"""Clip bounds that follow a quantile of the updates' norms, learnt from noised bits (Andrew et al. 2021).

Of each slice h of the model a person contributes one bit, b_h = 1 if its norm is within C_h (it is *not*
clipped). The bits are centred, b_h - 1/2, and ride in the round's one Gaussian release as a further slice of
the released vector, the *indicators*: a slice bound of C_b holds the H centred bits, each worth
C_b / sqrt(H) either way. After the release, and from released values only,

    fraction_h = noised sum of centred bits / S + 1/2        C_h <- C_h exp(-rate (fraction_h - quantile))

with the public expected cohort S: a bound that too many updates stay within falls. The noise of a round was
laid out for the bounds that the round clipped by; the new ones hold from the next round on.

**The split of z is exact.** The published rule gives the bits noise of standard deviation sigma_b and the
update a raised multiplier z_update, with 1/z^2 = 1/z_update^2 + H / (4 sigma_b^2). Here the release as a
whole has bound C = sqrt(C_model^2 + C_b^2) (and the statistics) under noise z C. In units of the bits that
is sigma_b = z C sqrt(H) / (2 C_b), in units of the model's bound z_update = z C / C_model, and the published
rule is the Pythagorean theorem. Nothing is subtracted from z; the model's bound shrinks instead.
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
    """Of each slice of the model whether the update's norm there is within the bound.

    None for an update with an entry that is not finite: it counts as zero and says nothing.

    Args:
        update: shape (d, ...): at least the model's coordinates.
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
    """Add one person's centred bits to the accumulator's indicators; None adds nothing.

    Guarantee:
        What is added has a norm of at most the indicators' bound, exactly, in whole grid steps.
    """
    if unclipped is None:
        return
    half = half_bit_in_steps(bounds, quantiser)
    bits = [half if inside else -half for inside in unclipped]
    accumulator[bounds.indicators_part] += torch.tensor(bits, dtype=accumulator.dtype)


@dataclass(frozen=True, kw_only=True)
class QuantileClip:
    """How bounds follow: to which quantile of the norms, and how fast.

    Args:
        quantile: gamma, the share of updates that shall stay within their bound; in (0, 1).
        rate: eta, the most by which the logarithm of a bound moves in a round.
    """

    quantile: float = 0.5
    rate: float = 0.2

    def __post_init__(self) -> None:
        open_probability(quantile=self.quantile)
        positive(rate=self.rate)

    def fractions(
        self, released: torch.Tensor, cohort: float, bounds: ClipBounds, quantiser: Quantiser
    ) -> list[float]:
        """The noised share of unclipped updates per slice, held to [0, 1].

        Args:
            released: shape (H,), the indicators of the noised sum, in grid steps.
            cohort: the public expected cohort S; never how many took part.
        """
        full = 2 * half_bit_in_steps(bounds, quantiser) * cohort
        return [min(1.0, max(0.0, float(value) / full + 0.5)) for value in released]

    def next_bounds(
        self, released: torch.Tensor, cohort: float, bounds: ClipBounds, quantiser: Quantiser
    ) -> ClipBounds:
        """The bounds of the next round.

        Guarantee:
            A function of released values and public numbers alone: post-processing. Statistics and
            indicators keep their shares of the total, and no bound falls under what the grid can hold.

        Args:
            released: as for `fractions`.
            cohort: as for `fractions`.
            bounds: those that the round clipped by.
            grid: the round's grid.
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
    """The size of a centred bit in whole steps, rounded down so that all of them stay within their bound."""
    return math.isqrt(squared_limits(bounds, quantiser)[-1] // bounds.indicators)
