"""A capped cohort is a truncated Poisson sample: drawn as one, accounted for as one, filed as one."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from privacy import Ledger, PrivacyPlan, Release, draw_cohort, epsilon, pld_epsilon, read_ledger

FALSE_ALARM = 1e-7
CAPPED = Release(sampling_rate=0.01, noise_multiplier=1.0, count=1000, cohort_cap=150, population=10_000)
PLAIN = Release(sampling_rate=0.01, noise_multiplier=1.0, count=1000)
PLAN = PrivacyPlan(population=200, cohort=20.0, rounds=50, noise_multiplier=1.5, delta=1e-6, cohort_cap=25)


def test_golden_price_of_a_cap_of_one_and_a_half_cohorts() -> None:
    """arXiv 2508.15089 as dp_accounting computes it at 1e-4: 1.8282 becomes 1.8305."""
    assert pld_epsilon([CAPPED], 1e-5) == pytest.approx(1.8305, abs=1e-3)
    assert pld_epsilon([PLAIN], 1e-5) < pld_epsilon([CAPPED], 1e-5)


def test_both_accountants_answer_where_the_cap_binds_often() -> None:
    """PLD has another person in the place of one who is removed; zeroed out, that place stays."""
    both = epsilon([replace(CAPPED, cohort_cap=120)], 1e-5)
    assert both.pld is not None
    assert pld_epsilon([PLAIN], 1e-5) < both.value <= min(both.rdp, both.pld) < math.inf


def test_a_lower_cap_never_costs_less_of_delta() -> None:
    epsilons = [pld_epsilon([replace(CAPPED, cohort_cap=cap)], 1e-5) for cap in (110, 130, 150, 10_000)]
    assert epsilons == sorted(epsilons, reverse=True)


@pytest.mark.parametrize(
    "fields", [{"cohort_cap": 5, "population": 4}, {"population": 4}, {"cohort_cap": -1}]
)
def test_a_cap_needs_its_population(fields: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"population|cohort_cap"):
        Release(sampling_rate=0.1, noise_multiplier=1.0, **fields)


def test_draw_cohort_holds_the_cap_and_is_fair() -> None:
    """Chi-square over who is kept; the distribution of sizes is the binomial's, cut at the cap."""
    rounds = 4000
    draws = [draw_cohort(PLAN, step) for step in range(rounds)]
    sizes = np.array([len(drawn) for drawn in draws])
    assert sizes.max() == PLAN.cohort_cap
    at_cap = stats.binom.sf(PLAN.cohort_cap - 1, PLAN.population, PLAN.sampling_rate)
    assert stats.binomtest(int((sizes == PLAN.cohort_cap).sum()), rounds, at_cap).pvalue > FALSE_ALARM
    counts = np.bincount(np.concatenate(draws), minlength=PLAN.population)
    assert stats.chisquare(counts).pvalue > FALSE_ALARM
    assert all((np.diff(drawn) > 0).all() for drawn in draws)


def test_the_plan_names_sampler_and_adjacency() -> None:
    assert PLAN.sampler == "truncated (at most 25) Poisson"
    assert PLAN.adjacency == "zero-out one speaker"
    assert (PLAN.release.cohort_cap, PLAN.release.population) == (25, 200)
    assert PLAN.extrapolate(10_000, 1000.0).cohort_cap == 1250


@pytest.mark.parametrize(
    ("change", "named"), [({"cohort_cap": 19}, "cohort_cap=19"), ({"bands": 2}, "bands=2")]
)
def test_impossible_caps_are_refused(change: dict[str, int], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        replace(PLAN, **change)


def test_calibration_counts_the_cap() -> None:
    scale = {"population": 200, "cohort": 20.0, "rounds": 20, "delta": 1e-5}
    capped = PrivacyPlan.calibrate(target_epsilon=6.0, cohort_cap=30, **scale)
    assert 5.9 < capped.epsilon().value <= 6.0
    assert capped.noise_multiplier > PrivacyPlan.calibrate(target_epsilon=6.0, **scale).noise_multiplier


def test_the_ledger_keeps_a_cap_and_older_lines_stay_valid(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger.open(path) as ledger:
        for release in (PLAN.release, replace(PLAN, cohort_cap=0).release):
            ledger.spend(release, run="r", dataset="d", round=1)
    capped, plain = (json.loads(line)["release"] for line in path.read_text().splitlines())
    assert (capped["cohort_cap"], capped["population"]) == (25, 200)
    assert set(plain) == {"sampling_rate", "noise_multiplier", "count"}
    assert read_ledger(path)[0].release == PLAN.release
