"""Correlated noise in a federation: what the ledger is charged, who is drawn, and after a restart."""

import math

import pytest
import torch

from privacy import BandedNoise, BudgetExhausted, PrivacyPlan, Release, epsilon
from strategies import StreamingGrid
from tests.strategies.federation import LAYOUT, honest, make_strategy
from tests.strategies.flower import FakeGrid
from wire.messages import Task

QUIET = {1: honest(lambda number: torch.zeros(LAYOUT.size))}


def banded(folder, bands=3, **settings):
    settings = {"cohort": 3, "z": 1.3, "rounds": 8, **settings}
    return make_strategy(folder, {1: 12}, plan_settings={"bands": bands}, **settings)


def run(strategy, rounds):
    flower = FakeGrid(QUIET)
    strategy.start(StreamingGrid(flower), strategy.arrays(), num_rounds=rounds, timeout=5.0)
    return [Task.from_message(message)[0] for message in flower.pushed]


def test_epsilon_of_the_ledger_is_that_of_ceil_t_over_b_at_every_round(tmp_path):
    strategy, flower = banded(tmp_path), FakeGrid(QUIET)
    for done in range(1, 9):
        grid = StreamingGrid(flower)
        messages = strategy.configure_train(done, strategy.arrays(), None, grid)
        strategy.aggregate_train(done, grid.send_and_receive(messages, timeout=5.0))
        rate = 3 * 3 / 12
        release = Release(sampling_rate=rate, noise_multiplier=1.3, count=math.ceil(done / 3))
        expected = epsilon([release], 1e-6)
        assert strategy.ledger.epsilon(1e-6) == expected
        assert strategy.plan.epsilon(done) == expected


def test_a_speaker_is_asked_only_in_the_rounds_of_its_group(tmp_path):
    strategy = banded(tmp_path)
    for task in run(strategy, 8):
        assert {number % 3 for number in task.speakers} == {(task.round_number - 1) % 3}
    assert isinstance(strategy.noise, BandedNoise)


def test_a_resumed_process_starts_a_cycle_of_its_own(tmp_path):
    """Its noise is fresh and its groups begin anew, so the unfinished cycle must not cover it."""
    first = banded(tmp_path)
    run(first, 4)
    first.ledger.close()
    second = banded(tmp_path)
    run(second, 2)
    assert [entry.round for entry in second.ledger.entries] == [1, 4, 1]


def test_the_budget_is_held_by_cycles(tmp_path):
    plan = PrivacyPlan(population=12, cohort=3.0, rounds=9, noise_multiplier=1.3, delta=1e-6, bands=3)
    budget = (plan.epsilon(6).value + plan.epsilon(7).value) / 2
    strategy = banded(tmp_path, budget=budget, rounds=9)
    with pytest.raises(BudgetExhausted):
        run(strategy, 9)
    assert strategy.last_report.round_number == 6


def test_a_group_too_small_for_the_cohort_is_refused():
    with pytest.raises(ValueError, match="a group of 3 speakers"):
        PrivacyPlan(population=12, cohort=4.0, rounds=9, noise_multiplier=1.0, delta=1e-6, bands=4)


def test_groups_by_position_know_only_zero_out():
    plan = PrivacyPlan(population=12, cohort=4.0, rounds=9, noise_multiplier=1.0, delta=1e-6, bands=3)
    assert plan.adjacency == "zero-out one speaker"
    assert "3 fixed groups" in plan.sampler
