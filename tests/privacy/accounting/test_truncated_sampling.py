"""Renyi moments of capped cohorts: exact where all draws can be counted, finite, never too small."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import integrate, stats

from privacy.accounting.calibration import calibrate_noise_multiplier
from privacy.accounting.releases import Release
from privacy.accounting.renyi import ORDERS, moments_of, rdp_epsilon
from privacy.accounting.truncated_sampling import truncation
from privacy.plan import PrivacyPlan

CAPPED = Release(sampling_rate=0.01, noise_multiplier=1.0, count=1000, cohort_cap=150, population=10_000)


def counted(rate: float, cap: int, population: int) -> dict[frozenset[int], tuple[float, float]]:
    """Of every set R of the others who stay: P[R], and P[R and person 0 is in], by counting all draws."""
    found: dict[frozenset[int], tuple[float, float]] = {}
    for coins in itertools.product((0, 1), repeat=population):
        drawn = [person for person, coin in enumerate(coins) if coin]
        chance = rate ** len(drawn) * (1 - rate) ** (population - len(drawn))
        kept = list(itertools.combinations(drawn, min(cap, len(drawn))))
        for subset in kept:
            others = frozenset(subset) - {0}
            total, inside = found.get(others, (0.0, 0.0))
            found[others] = (total + chance / len(kept), inside + (0 in subset) * chance / len(kept))
    return found


def moment(rate: float, noise: float, order: float) -> float:
    """The order-th moment of a sampled Gaussian against the plain one, by quadrature."""

    def density(x: float) -> float:
        ratio = 1 - rate + rate * math.exp((2 * x - 1) / (2 * noise**2))
        return ratio**order * float(stats.norm.pdf(x, scale=noise))

    return float(integrate.quad(density, -12 * noise, order + 12 * noise, limit=400, points=[0.0, order])[0])


@pytest.mark.parametrize(("rate", "cap", "population"), [(0.4, 2, 5), (0.2, 1, 4), (0.7, 3, 6), (0.5, 5, 5)])
@pytest.mark.parametrize("order", [1.5, 4.0])
def test_moments_are_those_of_all_draws_counted_one_by_one(
    rate: float, cap: int, population: int, order: float
) -> None:
    """If the others' sums reveal who stayed, the divergence is the mixture's over all R: an equality."""
    exact = sum(
        total * moment(min(1.0, inside / total), 0.9, order)
        for total, inside in counted(rate, cap, population).values()
    )
    release = Release(sampling_rate=rate, noise_multiplier=0.9, cohort_cap=cap, population=population)
    assert moments_of([release], (order,))[0] == pytest.approx(math.log(exact) / (order - 1), rel=1e-6)


@pytest.mark.parametrize("cap", [100, 110, 120, 150, 220])
def test_rdp_of_a_capped_cohort_is_finite_and_above_that_of_an_uncapped_one(cap: int) -> None:
    """It was infinite for the first four: there the cap binds too often for a hundredth of delta."""
    capped = moments_of([replace(CAPPED, cohort_cap=cap)])
    plain = moments_of([replace(CAPPED, cohort_cap=0, population=0)])
    assert (capped >= plain * (1 - 1e-12)).all()
    assert math.isfinite(rdp_epsilon([replace(CAPPED, cohort_cap=cap)], 1e-5)[0])


def test_a_lower_cap_costs_more_and_a_cap_of_everybody_nothing() -> None:
    epsilons = [
        rdp_epsilon([replace(CAPPED, cohort_cap=cap)], 1e-5)[0] for cap in (100, 110, 120, 150, 10_000)
    ]
    assert epsilons == sorted(epsilons, reverse=True)
    assert epsilons[-1] == rdp_epsilon([replace(CAPPED, cohort_cap=0, population=0)], 1e-5)[0]


def test_a_tail_that_underflows_is_bounded_not_dropped() -> None:
    """P[more than 15,000 of 10,000 expected] is far below the least float; p* stays well above q."""
    rate, cap, population = 0.01, 15_000, 1_000_000
    below, at_cap, worst = truncation(rate, cap, population)
    steps = np.arange(cap, cap + 2000)
    ratios = (population - 1 - steps + 1) * rate / (steps * (1 - rate))  # P[K = k] / P[K = k - 1], k from B
    odds = float((np.cumprod(ratios) * rate * cap / (steps + 1)).sum())  # t / P[K = B - 1]
    assert (below, at_cap) == (1.0, 1e-250)
    assert (rate + odds) / (1 + odds) <= worst <= 1.01 * (rate + odds) / (1 + odds)


def test_everybody_drawn_and_cut_down_is_sampling_without_replacement() -> None:
    """q = 1: in with probability B / N, which the others' sums reveal."""
    release = Release(sampling_rate=1.0, noise_multiplier=2.0, cohort_cap=3, population=12)
    exact = math.log(0.25 * math.exp(3 * 4 / (2 * 4.0)) + 0.75) / 3
    assert moments_of([release], (4.0,))[0] == pytest.approx(exact, rel=1e-9)


def test_no_order_is_lost_to_overflow() -> None:
    harsh = Release(sampling_rate=0.5, noise_multiplier=0.01, cohort_cap=60, population=100)
    found = moments_of([harsh])
    assert (found[np.array(ORDERS) >= 2] > 0).all() and not np.isnan(found).any()


def test_budgets_and_calibration_work_with_caps_whatever_other_runs_released() -> None:
    plan = PrivacyPlan(population=200, cohort=20.0, rounds=5, noise_multiplier=4.0, delta=1e-6, cohort_cap=25)
    replace(plan, epsilon_budget=4.0).require_budget(own=[], others=[plan.release] * 2)
    noise = calibrate_noise_multiplier(
        target_epsilon=3.0, delta=1e-20, sampling_rate=0.1, rounds=5, cohort_cap=25, population=200
    )  # a delta at which PLD is silent
    release = Release(sampling_rate=0.1, noise_multiplier=noise, count=5, cohort_cap=25, population=200)
    assert rdp_epsilon([release], 1e-20)[0] <= 3.0
