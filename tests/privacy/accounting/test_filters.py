"""The filter is Feldman and Zrnic's at a few orders, fixed by budget and delta, which share delta."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.accountants.analysis.rdp import compute_rdp

from privacy.accounting.epsilon import Release, epsilon, rdp_epsilon
from privacy.accounting.filters import SHARES, filter_orders, filtered_epsilon, least_budget
from privacy.accounting.renyi import ORDERS

BUDGETS = [(2.0, 1e-5), (7.2, 1e-9), (50.0, 1e-5), (0.2, 1e-9)]
releases = st.builds(
    Release,
    sampling_rate=st.sampled_from([1e-3, 0.03, 0.3, 1.0]),
    noise_multiplier=st.sampled_from([0.5, 1.0, 4.0, 30.0]),
    count=st.integers(1, 50),
)


def parameters(release: Release) -> dict[str, float]:
    """In opacus' words."""
    return {"q": release.sampling_rate, "noise_multiplier": release.noise_multiplier}


@settings(max_examples=25, deadline=None)
@given(made=st.lists(releases, min_size=1, max_size=4), at=st.sampled_from(BUDGETS))
def test_filtered_epsilon_guarantee(made: list[Release], at: tuple[float, float]) -> None:
    """What passes has, at one of the orders, a sum that converts to no more than the budget at its share.

    Computed anew here, by opacus and by Canonne, Kamath and Steinke's proposition 12 (arXiv 2004.00010). So
    the whole is (budget, delta)-private as a fixed list too, and what does not pass fails at every order.
    """
    budget, delta = at
    orders = filter_orders(budget, delta)
    added = [(math.log(len(SHARES) / delta) - math.log(a)) / (a - 1) + math.log(1 - 1 / a) for a in orders]
    sums = [
        sum(float(compute_rdp(steps=one.count, orders=a, **parameters(one))) for one in made) for a in orders
    ]
    converted = [used + more for used, more in zip(sums, added, strict=True)]
    passes = filtered_epsilon(made, budget, delta) <= budget
    assert passes == (min(converted) <= budget)
    if passes:
        assert rdp_epsilon(made, delta)[0] <= budget


@pytest.mark.parametrize(("budget", "delta"), BUDGETS)
def test_the_orders_leave_their_shares_of_the_budget(budget: float, delta: float) -> None:
    orders = filter_orders(budget, delta)
    assert 1 <= len(orders) <= len(SHARES) and set(orders) <= set(ORDERS)
    assert list(orders) == sorted(orders)
    nothing = filtered_epsilon([Release(sampling_rate=1e-9, noise_multiplier=1e4)], budget, delta)
    assert nothing <= budget / 2 * 1.001  # the highest order leaves half


def test_a_budget_that_no_order_can_show_lets_nothing_through() -> None:
    assert filter_orders(1e-3, 1e-9) == ()
    assert filtered_epsilon([], 1e-3, 1e-9) == 0
    assert filtered_epsilon([Release(sampling_rate=0.1, noise_multiplier=100.0)], 1e-3, 1e-9) == math.inf


def test_nothing_passes_without_noise() -> None:
    assert filtered_epsilon([Release(sampling_rate=0.1, noise_multiplier=0.0)], 1e3, 1e-5) == math.inf


@pytest.mark.parametrize(
    "made",
    [
        [Release(sampling_rate=0.1, noise_multiplier=1.0, count=30)],
        [Release(sampling_rate=0.003, noise_multiplier=0.6, count=2000)],
        [Release(sampling_rate=1.0, noise_multiplier=3.0), Release(sampling_rate=0.2, noise_multiplier=1.0)],
    ],
)
def test_least_budget_guarantee(made: list[Release]) -> None:
    """It lets all through, hardly less does, and it is above what a fixed plan would have cost."""
    least = least_budget(made, 1e-6)
    assert filtered_epsilon(made, least, 1e-6) <= least
    assert filtered_epsilon(made, 0.97 * least, 1e-6) > 0.97 * least
    assert epsilon(made, 1e-6, pld=False).value < least < 1.6 * epsilon(made, 1e-6, pld=False).value
    assert least_budget([], 1e-6) == 0
    assert least_budget([Release(sampling_rate=0.1, noise_multiplier=0.0)], 1e-6) == math.inf


@pytest.mark.parametrize(("budget", "delta"), [(0.0, 1e-5), (math.nan, 1e-5), (1.0, 0.0), (1.0, 1.0)])
def test_bad_values_are_named(budget: float, delta: float) -> None:
    with pytest.raises(ValueError, match=r"budget|delta"):
        filter_orders(budget, delta)
