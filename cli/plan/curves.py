"""The curves of a plan: epsilon over rounds, the same for other plans, and the norm of the noise."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from typing import Literal

from privacy.plan import PrivacyPlan

POINTS = 60
SIZES = tuple(10 ** (exponent / 4) for exponent in range(12, 37))
"""Trained parameters, from a thousand to a billion."""
FACTORS = (0.5, 1.0, 2.0)
"""Of other cohorts and of other noise multipliers, beside those of the plan."""


def epsilon_by_round(plan: PrivacyPlan) -> list[tuple[int, float]]:
    """Epsilon (RDP) after rounds of the plan at equal distances, the last included; infinite without noise.

    Example:
        >>> plan = PrivacyPlan(population=10_000, cohort=100, rounds=50, noise_multiplier=1.0, delta=1e-6)
        >>> curve = epsilon_by_round(plan)
        >>> len(curve), curve[-1][0], round(curve[-1][1], 2)
        (50, 50, 1.42)
    """
    rounds = sorted({max(1, round(plan.rounds * point / POINTS)) for point in range(1, POINTS + 1)})
    return [(one, plan.epsilon_of(plan.releases_in(one), pld=False).value) for one in rounds]


def noise_by_size(plan: PrivacyPlan) -> list[tuple[float, float]]:
    """Trained parameters d, and the norm of a round's noise on the mean in units of C: sigma_DP sqrt(d)."""
    return [(size, plan.sigma_dp * math.sqrt(size)) for size in SIZES]


def size_at_the_bound(plan: PrivacyPlan) -> float:
    """Trained parameters at which a round's noise has the norm C, the largest that a mean update can have.

    Below it adapters, or whatever trains fewer parameters, get updates that are larger than their noise.
    """
    return plan.sigma_dp**-2


def variants(plan: PrivacyPlan, setting: Literal["cohort", "noise_multiplier"]) -> list[PrivacyPlan]:
    """The plan with half and twice one of its settings, and the plan itself.

    One that cannot be, such as a cohort above its cap or noise out of range, is left out.
    """
    found = []
    for factor in FACTORS:
        with suppress(ValueError):
            found.append(replace(plan, **{setting: getattr(plan, setting) * factor}))
    return found
