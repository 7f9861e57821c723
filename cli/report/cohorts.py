"""The numbers of drawn speakers beside what Poisson sampling makes one expect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from privacy import PrivacyPlan

SIGMAS = 1.96


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """Mean and standard deviation of a round's number of drawn speakers.

    Of N/b speakers (b bands) each is drawn with probability b S / N, so the number is binomial. A cap cuts
    it off above, which moves the mean a little: `cap` says so.
    """

    mean: float
    deviation: float
    cap: int

    @classmethod
    def of(cls, plan: PrivacyPlan) -> Expectation:
        """Of a plan.

        Example:
            >>> plan = PrivacyPlan(population=1000, cohort=100, rounds=5, noise_multiplier=1.0, delta=1e-6)
            >>> found = Expectation.of(plan)
            >>> found.mean, round(found.deviation, 2), [round(one, 1) for one in found.band]
            (100, 9.49, [81.4, 118.6])
        """
        rate = plan.bands * plan.sampling_rate
        return cls(
            mean=plan.cohort, deviation=math.sqrt(plan.cohort * max(0.0, 1 - rate)), cap=plan.cohort_cap
        )

    @property
    def band(self) -> tuple[float, float]:
        """The interval in which some 95 % of the rounds are expected."""
        return max(0.0, self.mean - SIGMAS * self.deviation), self.mean + SIGMAS * self.deviation

    def in_words(self, drawn: Sequence[int]) -> str:
        """How the rounds compare with it."""
        low, high = self.band
        inside = sum(low <= one <= high for one in drawn)
        mean = math.fsum(drawn) / len(drawn)
        cap = f" At most {self.cap} take part in a round." if self.cap else ""
        return (
            f"{mean:.1f} speakers were drawn in a round, {self.mean:g} are expected; {inside} of "
            f"{len(drawn)} rounds lie between {low:.0f} and {high:.0f}, where 95 % are expected.{cap}"
        )
