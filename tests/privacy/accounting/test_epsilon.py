"""Epsilon agrees with closed forms and between accountants, and is never understated.

tests/cli/paper/test_privacy.py holds all rows of the paper by RDP.
"""

import math
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.accountants import RDPAccountant
from scipy import optimize, stats

import privacy.accounting.pld as pld
import privacy.accounting.renyi as renyi
from privacy.accounting.epsilon import (
    USUAL_ORDERS,
    Epsilon,
    Release,
    epsilon,
    merge,
    pld_epsilon,
    rdp_epsilon,
)
from tests.privacy.paper_rows import ROWS

HEADLINES = {"26": (7.2228, 6.2945), "11": (4.4393, 4.2158)}  # opacus' own orders; PLD at a fine interval


def run(rate: float, noise: float, rounds: int) -> list[Release]:
    """A run of equal rounds."""
    return [Release(sampling_rate=rate, noise_multiplier=noise, count=rounds)]


def run_of(row: dict[str, Any]) -> list[Release]:
    return run(row["q"], row["z"], row["T"])


@pytest.mark.parametrize(
    "row", [ROWS[index] for index in (1, 4, 11, 14, 26, 37, 47)], ids=lambda row: row["id"]
)
def test_paper_row_by_pld(row: dict[str, Any]) -> None:
    assert pld_epsilon(run_of(row), row["delta"]) == pytest.approx(row["pld"], rel=2e-3)


def test_small_epsilon_by_pld_is_refined() -> None:
    """Below 1 our finer interval is tighter than the golden value's, and still at least 95 % of it."""
    row = ROWS[17]
    assert 0.95 * row["pld"] < pld_epsilon(run_of(row), row["delta"]) < row["pld"]


@pytest.mark.parametrize("name", sorted(HEADLINES))
def test_headline(name: str) -> None:
    row = next(row for row in ROWS if row["id"] == name)
    by_rdp, by_pld = HEADLINES[name]
    assert rdp_epsilon(run_of(row), row["delta"], USUAL_ORDERS)[0] == pytest.approx(by_rdp, abs=6e-4)
    bounds = epsilon(run_of(row), row["delta"])
    assert bounds.rdp == pytest.approx(by_rdp, rel=2e-3)
    assert bounds.pld == pytest.approx(by_pld, abs=6e-4)
    assert (bounds.value, bounds.accountant) == (bounds.pld, "PLD")


def test_the_usual_orders_are_those_of_the_installed_opacus() -> None:
    assert list(USUAL_ORDERS) == RDPAccountant.DEFAULT_ALPHAS


def test_value_of_opacus_own_tests() -> None:
    value, _ = rdp_epsilon(run(0.04, 1.5, 2250), 1e-5, USUAL_ORDERS)
    assert value == pytest.approx(7.32911117143, rel=1e-9)


def exact_gaussian(noise: float, delta: float) -> float:
    """Epsilon of one Gaussian release without sampling, in closed form (Balle and Wang 2018, Theorem 8)."""

    def excess(eps: float) -> float:
        a, b = 1 / (2 * noise) - eps * noise, -1 / (2 * noise) - eps * noise
        return float(stats.norm.cdf(a) - math.exp(eps + stats.norm.logcdf(b)) - delta) / delta

    return float(optimize.brentq(excess, 0, 200, xtol=1e-12))


@pytest.mark.parametrize("noise", [0.5, 1.0, 4.0, 10.0])
@pytest.mark.parametrize("delta", [1e-5, 1e-9])
def test_epsilon_guarantee_against_the_closed_form(noise: float, delta: float) -> None:
    """Both bounds lie above the exact epsilon of a Gaussian; PLD by no more than its interval allows."""
    exact = exact_gaussian(noise, delta)
    rounds = 9  # nine releases of 3 z are one of z
    bounds = epsilon(run(1.0, 3 * noise, rounds), delta)
    assert bounds.pld is not None
    assert exact <= bounds.pld <= exact + 2e-3
    assert exact <= bounds.rdp <= 1.2 * exact


@pytest.mark.parametrize(("noise", "rounds"), [(30.0, 2000), (14.0, 200)])
@pytest.mark.parametrize("delta", [1e-11, 1e-12, 1e-13, 1e-14, 1e-16, 1e-30])
def test_a_tiny_delta_is_never_answered_with_too_little(noise: float, rounds: int, delta: float) -> None:
    """The rounding of PLD's Fourier transforms is larger than such a delta; RDP has none."""
    bounds = epsilon(run(1.0, noise, rounds), delta)
    assert bounds.value >= exact_gaussian(noise / math.sqrt(rounds), delta)
    assert math.isfinite(bounds.rdp)
    if delta <= 1e-14:
        assert bounds.accountant == "RDP"


@pytest.mark.parametrize("rate", [1e-4, 0.00295, 0.0295, 0.25, 1.0])
@pytest.mark.parametrize("noise", [0.3, 1.0, 5.0])
def test_accountants_are_in_order(rate: float, noise: float) -> None:
    bounds = epsilon(run(rate, noise, 500), 1e-9)
    assert bounds.pld is not None
    assert 0 < bounds.pld <= 1.001 * bounds.rdp + 1e-2


@pytest.mark.parametrize(
    ("rate", "noise", "rounds", "by_rdp", "by_pld"),
    [(0.25, 0.05, 60, 6893.69, 6061.7), (0.0295, 0.0006144, 2006, 2.683e9, math.inf)],
)
def test_regime_with_hardly_any_noise(
    rate: float, noise: float, rounds: int, by_rdp: float, by_pld: float
) -> None:
    """Thousands and billions of epsilon are answered in seconds, by RDP alone where PLD gives up."""
    began = time.perf_counter()
    bounds = epsilon(run(rate, noise, rounds), 1e-5)
    assert time.perf_counter() - began < 10
    assert bounds.rdp == pytest.approx(by_rdp, rel=1e-3)
    assert bounds.pld == pytest.approx(by_pld, rel=1e-3)
    assert bounds.accountant == ("PLD" if by_pld < math.inf else "RDP")


@pytest.mark.parametrize(("rate", "noise"), [(0.5, 1e5), (0.01, 1e5), (1e-6, 1e3)])
def test_regime_with_hardly_any_divergence(rate: float, noise: float) -> None:
    """opacus would sum for minutes at q = 1/2, and elsewhere round to numbers below zero."""
    moments = renyi._moments(rate, noise, renyi.ORDERS)
    assert moments.min() >= 0 and moments.max() < 1e-3
    one, many = (rdp_epsilon(run(rate, noise, rounds), 1e-6)[0] for rounds in (1, 10**6))
    assert one <= many


SOME = st.builds(
    Release,
    sampling_rate=st.sampled_from([0.0, 0.01, 0.25, 1.0]),
    noise_multiplier=st.sampled_from([0.0, 0.3, 1.0, 3.0]),
    count=st.integers(0, 500),
)


@settings(max_examples=200)
@given(st.lists(SOME, max_size=4), SOME)
def test_rdp_epsilon_guarantee(releases: list[Release], further: Release) -> None:
    """A release more never lowers epsilon; order and grouping do not matter; noise 0 is infinite."""
    before, _ = rdp_epsilon(releases, 1e-6)
    after, _ = rdp_epsilon([*releases, further], 1e-6)
    assert 0 <= before <= after
    assert rdp_epsilon(reversed([*releases, further]), 1e-6)[0] == after
    revealing = [one for one in (*releases, further) if one.sampling_rate and one.count]
    assert (after == 0) == (not revealing)
    assert (after == math.inf) == any(one.noise_multiplier == 0 for one in revealing)


def test_pld_epsilon_guarantee() -> None:
    """Finer and coarser intervals bracket nothing: each is above the finest, so each is a bound."""
    releases = merge(run(0.05, 0.8, 200))
    values = [pld._pld_at(releases, 1e-6, interval) for interval in (1e-4, 1e-3, 1e-2, 0.1, 1.0)]
    assert values == sorted(values)
    assert pld_epsilon([], 1e-6) == 0
    assert pld_epsilon(run(0.5, 0.0, 1), 1e-6) == math.inf


def test_mixed_releases_lie_between_their_kinds() -> None:
    mixed = epsilon([*run(0.05, 1.0, 50), *run(0.05, 2.0, 50)], 1e-6)
    lower, upper = epsilon(run(0.05, 2.0, 100), 1e-6), epsilon(run(0.05, 1.0, 100), 1e-6)
    for low, middle, high in ((lower.rdp, mixed.rdp, upper.rdp), (lower.pld, mixed.pld, upper.pld)):
        assert low is not None and middle is not None and high is not None
        assert low < middle < high


@pytest.mark.parametrize(
    ("rate", "noise"), [(1e-9, 0.3), (1e-6, 3.0), (1e-6, 99.0), (1e-6, 1e3), (1e-3, 1e5)]
)
def test_no_divergence_is_lost_to_rounding(rate: float, noise: float) -> None:
    """At order 2 the moment is 1 + q^2 (exp(1 / z^2) - 1); opacus returns 0 for 1e-18 in any round."""
    exact = 1e9 * math.log1p(rate**2 * math.expm1(1 / noise**2))
    assert renyi.moments_of(run(rate, noise, 10**9), (2.0,))[0] >= exact


def test_merge_counts_equals_together_and_drops_what_reveals_nothing() -> None:
    one, other = run(0.1, 1.0, 3)[0], run(0.2, 1.0, 1)[0]
    assert merge([other, one, *run(0.0, 1.0, 9), one, *run(0.1, 1.0, 0)]) == (*run(0.1, 1.0, 6), other)


def test_a_running_total_is_cheap() -> None:
    """Well under the 50 ms a round that a run may spend on it."""
    rdp_epsilon(run(0.03, 1.0, 1), 1e-9)
    began = time.perf_counter()
    for rounds in range(1, 201):
        rdp_epsilon(run(0.03, 1.0, rounds), 1e-9)
    assert (time.perf_counter() - began) / 200 < 0.01


@pytest.mark.parametrize(
    ("rate", "noise", "count"),
    [
        (math.nan, 1.0, 1),
        (1.5, 1.0, 1),
        (-0.1, 1.0, 1),
        (0.1, math.nan, 1),
        (0.1, math.inf, 1),
        (0.1, -1.0, 1),
        (0.1, 1e-160, 1),
        (0.1, 1e9, 1),
        (0.1, 1.0, -1),
        (0.1, 1.0, 1.5),
    ],
)
def test_what_would_hang_or_mislead_an_accountant_is_refused(rate: float, noise: float, count: int) -> None:
    with pytest.raises(ValueError, match=r"sampling_rate|noise_multiplier|count"):
        Release(sampling_rate=rate, noise_multiplier=noise, count=count)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-9, math.nan])
def test_bad_delta_is_refused(delta: float) -> None:
    for accountant in (rdp_epsilon, pld_epsilon, epsilon):
        with pytest.raises(ValueError, match="delta"):
            accountant(run(0.1, 1.0, 1), delta)


def test_the_claim_is_the_smaller_bound_and_says_whose() -> None:
    assert (Epsilon(rdp=2.0, order=3.0).value, Epsilon(rdp=2.0, order=3.0).accountant) == (2.0, "RDP")
    assert Epsilon(rdp=2.0, order=3.0, pld=1.0).accountant == "PLD"
    assert Epsilon(rdp=2.0, order=3.0, pld=math.inf).value == 2.0
