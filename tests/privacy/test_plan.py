"""A plan is coherent by construction, extrapolates as the paper does and stops at its budget."""

import json
import math
from dataclasses import FrozenInstanceError, replace

import pytest

import privacy.accounting.pld as pld
from privacy.accounting.epsilon import Release, epsilon
from privacy.accounting.filters import filtered_epsilon
from privacy.errors import BudgetExhausted
from privacy.plan import PrivacyPlan

PAPER = PrivacyPlan(population=34_753, cohort=1024, rounds=2034, noise_multiplier=0.003072, delta=1e-9)
SMALL = PrivacyPlan(population=400, cohort=40, rounds=30, noise_multiplier=1.0, delta=1e-5)


def test_one_convention_of_noise() -> None:
    assert PAPER.sampling_rate == 1024 / 34_753
    assert pytest.approx(3e-6) == PAPER.sigma_dp
    assert PAPER.release == Release(sampling_rate=1024 / 34_753, noise_multiplier=0.003072)
    assert (PAPER.adjacency, PAPER.sampler) == ("zero-out / add-or-remove one speaker", "Poisson")


def test_extrapolation_gives_the_papers_headline() -> None:
    there = replace(PAPER, epsilon_budget=1e9).extrapolate(population=69_506_000, cohort=204_800)
    assert there.noise_multiplier == pytest.approx(0.6144)
    assert (there.sigma_dp, there.rounds, there.delta) == (pytest.approx(PAPER.sigma_dp), 2034, 1e-9)
    assert there.epsilon_budget is None
    bounds = there.epsilon()
    assert bounds.rdp == pytest.approx(7.2228, rel=2e-3)
    assert bounds.pld == pytest.approx(6.2945, abs=1e-3)


def test_privacy_plan_guarantee() -> None:
    """Its epsilon is that of its rounds' releases together, and grows with them from zero."""
    assert SMALL.epsilon() == epsilon([SMALL.release] * 30, 1e-5)
    assert SMALL.epsilon(rounds=0).value == 0
    assert 0 < SMALL.epsilon(rounds=1).value < SMALL.epsilon(rounds=2).value < SMALL.epsilon().value
    assert SMALL.epsilon(pld=False).pld is None


def test_calibrated_plan_runs_all_its_rounds_and_not_one_more() -> None:
    """RDP alone would stop such a run early: its noise was chosen by PLD, which is asked only once."""
    plan = PrivacyPlan.calibrate(target_epsilon=2.0, population=400, cohort=40, rounds=30, delta=1e-5)
    assert plan.epsilon().value <= 2.0 < plan.epsilon(pld=False).value
    spent: list[Release] = []
    asked_before = pld._pld_at.cache_info().misses
    for _ in range(plan.rounds):
        plan.require_budget(spent)
        spent.append(plan.release)
    assert pld._pld_at.cache_info().misses <= asked_before + 2
    with pytest.raises(BudgetExhausted, match=r"epsilon=2 .*one more round"):
        plan.require_budget(spent)


def rounds_that_fit(plan: PrivacyPlan, own: list[Release], others: list[Release]) -> int:
    done = list(own)
    with pytest.raises(BudgetExhausted):
        while True:
            plan.require_budget(done, others)
            done.append(plan.release)
    return len(done) - len(own)


def test_an_extrapolation_whose_delta_promises_nothing_says_so() -> None:
    """At delta = 1 / N a mechanism that publishes one of N speakers, drawn at random, has epsilon 0."""
    plan = replace(SMALL, delta=1e-4)
    assert "1 / 10,000, this promises nothing" in plan.extrapolate(10_000, 50.0).remark_on_delta
    assert plan.extrapolate(9_999, 50.0).remark_on_delta == ""


def test_budget_counts_what_other_runs_spent() -> None:
    plan = replace(SMALL, epsilon_budget=SMALL.epsilon().value)
    plan.require_budget([])
    others = [Release(sampling_rate=1.0, noise_multiplier=0.5)]
    with pytest.raises(BudgetExhausted, match="a privacy filter counts"):
        plan.require_budget([], others)
    replace(plan, epsilon_budget=None).require_budget([], others)


def test_after_a_run_without_noise_no_budget_has_anything_left() -> None:
    plan = replace(SMALL, epsilon_budget=1e6)
    with pytest.raises(BudgetExhausted, match="released a model without noise") as refused:
        plan.require_budget([], [Release(sampling_rate=0.5, noise_multiplier=0.0)])
    assert "more rounds fit" not in str(refused.value)


def test_beside_other_runs_a_budget_is_a_filter_at_orders_fixed_beforehand() -> None:
    """PLD, or the best of all orders afterwards, would let more rounds through: no theorem covers that."""
    plan = replace(SMALL, rounds=1000, epsilon_budget=6.0)
    others = [Release(sampling_rate=0.1, noise_multiplier=1.2, count=10)]
    fit = rounds_that_fit(plan, [], others)
    by_all_orders = [*others, replace(plan.release, count=fit + 1)]
    assert epsilon(by_all_orders, plan.delta, pld=False).value < 6.0
    assert fit > 0
    assert filtered_epsilon([*others, replace(plan.release, count=fit)], 6.0, plan.delta) <= 6.0


def test_what_others_released_is_not_this_runs_progress() -> None:
    """Under whose name a release was made does not matter to the filter: the sum decides, not the rounds."""
    plan = replace(SMALL, rounds=5, epsilon_budget=6.0)
    equal = [plan.release] * 5
    assert rounds_that_fit(plan, [], equal) == rounds_that_fit(plan, equal[:2], equal[2:]) > 5


def test_a_calibrated_run_stops_early_beside_others_and_says_why() -> None:
    plan = PrivacyPlan.calibrate(target_epsilon=6.0, population=400, cohort=40, rounds=30, delta=1e-5)
    assert 0 < rounds_that_fit(plan, [], [plan.release]) < 29
    with pytest.raises(BudgetExhausted, match="known when this run was planned"):
        plan.require_budget([plan.release] * 29, [plan.release])


def test_rounds_tried_again_after_a_crash_are_of_the_same_fixed_plan() -> None:
    """As many as fit may be made, however many the plan has, and not one more."""
    plan = replace(SMALL, rounds=4, epsilon_budget=SMALL.epsilon(rounds=12).value)
    plan.require_budget([replace(plan.release, count=4)])
    assert rounds_that_fit(plan, [replace(plan.release, count=7)], []) == 5


def test_own_releases_of_another_plan_make_it_a_filter() -> None:
    plan = replace(SMALL, epsilon_budget=SMALL.epsilon().value)
    others_noise = [replace(plan.release, noise_multiplier=1.1, count=25)]
    assert epsilon([*others_noise, plan.release], plan.delta).value < plan.epsilon().value
    with pytest.raises(BudgetExhausted, match="filter"):
        plan.require_budget(others_noise)


def test_budget_stops_as_late_as_it_may() -> None:
    plan = replace(SMALL, rounds=1000, epsilon_budget=SMALL.epsilon(rounds=12).value)
    spent: list[Release] = []
    with pytest.raises(BudgetExhausted):
        while True:
            plan.require_budget(spent)
            spent.append(plan.release)
    assert len(spent) == 12


def test_a_plan_without_noise_is_not_private() -> None:
    plan = replace(SMALL, noise_multiplier=0.0)
    assert not plan.is_private and SMALL.is_private
    assert plan.epsilon().value == math.inf
    assert plan.describe()["claim"] is None
    with pytest.raises(BudgetExhausted):
        replace(plan, epsilon_budget=100.0).require_budget([])


@pytest.mark.parametrize("noise", [0.0, 0.6144])
def test_description_is_json(noise: float) -> None:
    text = json.dumps(replace(SMALL, noise_multiplier=noise).describe(), allow_nan=False)
    described = json.loads(text)
    assert described["population"] == 400 and described["sampling_rate"] == 0.1
    assert set(described["epsilon"]) == {"rdp", "pld", "order"}


def test_a_plan_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        SMALL.delta = 0.5  # type: ignore[misc]


@pytest.mark.parametrize(
    "change",
    [
        {"population": 0},
        {"population": 10.5},
        {"cohort": 0},
        {"cohort": 401},
        {"cohort": math.nan},
        {"rounds": 0},
        {"noise_multiplier": -1.0},
        {"noise_multiplier": math.nan},
        {"noise_multiplier": 1e-160},
        {"delta": 0.0},
        {"delta": 1.0},
        {"epsilon_budget": 0.0},
        {"epsilon_budget": math.nan},
    ],
)
def test_bad_values_are_named(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        replace(SMALL, **change)  # type: ignore[arg-type]
