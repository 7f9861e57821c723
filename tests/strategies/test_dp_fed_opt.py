import gc
import json
import math
import re
import weakref
from dataclasses import replace

import pytest
import torch
from scipy import stats

from privacy import BandedNoise, BudgetExhausted, PrivacyPlan, Quantiser, Release, epsilon
from strategies import DPFedAdam, GlobalModel, StreamingGrid, run_rounds
from tests.strategies.federation import (
    BOUNDS,
    LAYOUT,
    QUANTISER,
    PlainStep,
    failing,
    honest,
    make_parts,
    make_strategy,
    silent,
)
from tests.strategies.flower import FakeGrid

TINY_NOISE = 1e-3


def constant(value):
    return lambda number: torch.full((LAYOUT.size,), value)


def run(strategy, nodes, rounds=1):
    strategy.start(StreamingGrid(FakeGrid(nodes)), strategy.arrays(), num_rounds=rounds, timeout=1.0)
    return strategy


def test_a_round_subtracts_the_mean_of_the_clipped_updates(tmp_path):
    small = 1e-3
    strategy = make_strategy(tmp_path, {1: 2, 2: 3}, z=TINY_NOISE)
    run(strategy, {1: honest(constant(small)), 2: honest(constant(3 * small))})
    expected = -(2 * small + 3 * 3 * small) / 5
    noise_std = TINY_NOISE * BOUNDS.total / 5
    assert (strategy.vector - expected).abs().max() < 6 * noise_std


def test_an_update_counts_with_at_most_its_bounds_however_large_it_is(tmp_path):
    strategy = make_strategy(tmp_path, {1: 1}, z=TINY_NOISE)
    run(strategy, {1: honest(constant(1e9))})
    for name, layer in LAYOUT.views(strategy.vector).items():
        bound = BOUNDS.bounds[LAYOUT.names.index(name)]
        assert layer.norm() == pytest.approx(bound, rel=0.01, abs=6 * TINY_NOISE * layer.numel() ** 0.5)


@pytest.mark.parametrize("bad", [failing(), silent, honest(constant(math.nan))])
def test_the_divisor_and_the_noise_stay_when_a_node_fails(tmp_path, bad):
    small = 1e-3
    strategy = make_strategy(tmp_path, {1: 2, 2: 2}, z=TINY_NOISE)
    run(strategy, {1: honest(constant(small)), 2: bad})
    assert (strategy.vector + small / 2).abs().max() < 6 * TINY_NOISE / 4


def test_a_failing_node_is_named_with_its_reason_and_the_round_goes_on(tmp_path):
    strategy = make_strategy(tmp_path, {1: 1, 2: 1, 3: 1}, z=TINY_NOISE)
    run(strategy, {1: honest(constant(0.0)), 2: failing("stopped"), 3: silent}, rounds=2)
    dropped = {drop.node: drop.reason for drop in strategy.last_report.dropped}
    assert dropped == {2: "Flower error 2: stopped", 3: "no reply before the deadline"}
    assert {node: len(reasons) for node, reasons in strategy.failures.items()} == {2: 2, 3: 2}


def test_a_node_writes_no_line_of_the_log_by_its_own_hand(tmp_path):
    """A reason travels to the table, the summary and the operator's terminal."""
    strategy = make_strategy(tmp_path, {1: 1, 2: 1}, z=TINY_NOISE)
    forged = "no\nnode 1 was left out\x1b[2J" + "x" * 10_000_000
    run(strategy, {1: honest(constant(0.0)), 2: failing(forged)})
    (drop,) = strategy.last_report.dropped
    assert drop.reason.startswith("Flower error 2: no node 1 was left out [2Jxxx")
    assert drop.reason.isprintable() and len(drop.reason) < 500


def test_a_reply_after_the_deadline_counts_in_no_round(tmp_path):
    """A straggler's answer comes in the next round, unasked and then as the answer to the new question."""
    strategy = make_strategy(tmp_path, {1: 1, 2: 1}, z=TINY_NOISE)
    asked, slow = [], honest(constant(1e-3))

    def straggler(message):
        asked.append(message)
        return slow(asked[0]) if len(asked) > 1 else None

    nodes = {1: honest(constant(1e-3)), 2: straggler}
    run(strategy, nodes, rounds=2)
    reasons = strategy.failures[2]
    assert reasons[0] == "no reply before the deadline"
    assert reasons[1].startswith("round is 1, asked was 2")
    assert (strategy.vector + 2 * 1e-3 / 2).abs().max() < 2 * 6 * TINY_NOISE / 2  # node 1 alone, divisor 2


def test_a_node_that_joins_between_rounds_waits_for_the_next_run(tmp_path):
    """The plan is for the registered population; who comes later is in no cohort of this run."""
    grid = FakeGrid({1: honest(constant(0.0))})
    strategy = make_strategy(tmp_path, {1: 3})

    def joining(message):
        grid.nodes[2] = honest(constant(1.0))
        return honest(constant(0.0))(message)

    grid.nodes[1] = joining
    strategy.start(StreamingGrid(grid), strategy.arrays(), num_rounds=3, timeout=1.0)
    assert {message.metadata.dst_node_id for message in grid.pushed} == {1}
    assert strategy.plan.population == 3


def test_an_empty_cohort_still_releases_noise_and_spends(tmp_path):
    strategy = make_strategy(tmp_path, {1: 2}, cohort=1e-9, z=1.0)
    run(strategy, {1: honest(constant(1.0))})
    assert strategy.last_report.drawn == 0
    assert strategy.vector.std() > 0
    assert sum(release.count for release in strategy.ledger.releases("people")) == 1


def test_the_released_noise_has_the_planned_std_in_every_layer(tmp_path):
    """Chi-square over 400 rounds: false-alarm rate 1e-6 per layer."""
    z, rounds, cohort = 0.7, 400, 2
    strategy = make_strategy(tmp_path, {1: cohort}, z=z, rounds=rounds)
    nodes = {1: honest(constant(0.0))}
    draws = []
    for round_number in range(1, rounds + 1):
        strategy.vector.zero_()
        grid = StreamingGrid(FakeGrid(nodes))
        messages = strategy.configure_train(round_number, strategy.arrays(), None, grid)
        strategy.aggregate_train(round_number, grid.send_and_receive(messages, timeout=1.0))
        draws.append(strategy.vector.double().clone())
    released = torch.stack(draws)
    std = z * BOUNDS.total / cohort
    for name, begin, end in zip(LAYOUT.names, LAYOUT.offsets, LAYOUT.offsets[1:], strict=False):
        sample = released[:, begin:end] / std
        statistic = float((sample**2).sum())
        low, high = stats.chi2.interval(1 - 1e-6, df=sample.numel())
        assert low < statistic < high, name


def test_the_ledger_holds_a_release_before_its_noise_is_drawn(tmp_path, monkeypatch):
    seen = []

    class Watching:
        def add_rounded_(self, sums, std_steps):
            seen.append(len((tmp_path / "ledger.jsonl").read_text().splitlines()))

    monkeypatch.setattr("strategies.dp_fed_opt.SecureGaussian", Watching)
    run(make_strategy(tmp_path, {1: 1}), {1: honest(constant(0.0))}, rounds=3)
    assert seen == [1, 2, 3]


def test_no_copy_of_the_model_outlives_its_way_to_the_nodes(tmp_path):
    on_the_way, alive = [], []

    class Forgetful(FakeGrid):
        def push_messages(self, messages):
            messages = list(messages)
            on_the_way.extend(weakref.ref(message.content["model"]) for message in messages)
            ids = super().push_messages(messages)
            self.pushed.clear()
            return ids

        def pull_messages(self, message_ids):
            alive.append(sum(model() is not None for model in on_the_way))
            return super().pull_messages(message_ids)

    strategy = make_strategy(tmp_path, {1: 2, 2: 2})
    grid = StreamingGrid(Forgetful(dict.fromkeys((1, 2), honest(constant(0.0)))))
    run_rounds(strategy, grid, first=1, last=2, deadline_seconds=5.0, after_round=lambda number: None)
    assert len(on_the_way) == 4
    assert alive == [0, 0, 0, 0]


def test_a_reply_is_gone_before_the_next_is_pulled(tmp_path):
    pulled, alive = [], []

    class Watching(FakeGrid):
        def pull_messages(self, message_ids):
            alive.append(sum(sums() is not None for sums in pulled))
            replies = super().pull_messages(message_ids)
            pulled.extend(weakref.ref(reply.content["sum"]) for reply in replies)
            return replies

    strategy = make_strategy(tmp_path, {1: 2, 2: 2, 3: 2})
    grid = StreamingGrid(Watching(dict.fromkeys((1, 2, 3), honest(constant(0.0)))))
    gc.disable()
    try:
        run_rounds(strategy, grid, first=1, last=2, deadline_seconds=5.0, after_round=lambda number: None)
    finally:
        gc.enable()
    assert len(pulled) == 6
    assert alive == [0] * 6


def test_epsilon_of_the_ledger_is_that_of_the_plan(tmp_path):
    strategy = make_strategy(tmp_path, {1: 10}, cohort=2, z=1.3, rounds=5)
    run(strategy, {1: honest(constant(0.0))}, rounds=5)
    spent = epsilon(strategy.ledger.releases("people"), 1e-6, pld=False).rdp
    direct = epsilon([Release(sampling_rate=0.2, noise_multiplier=1.3, count=5)], 1e-6, pld=False).rdp
    assert spent == pytest.approx(direct, rel=1e-12)
    assert spent == pytest.approx(strategy.plan.epsilon(pld=False).rdp, rel=1e-12)


def test_the_run_stops_before_the_round_that_would_pass_the_budget(tmp_path):
    plan = PrivacyPlan(population=10, cohort=2.0, rounds=9, noise_multiplier=1.3, delta=1e-6)
    budget = (plan.epsilon(3).value + plan.epsilon(4).value) / 2
    strategy = make_strategy(tmp_path, {1: 10}, cohort=2, z=1.3, rounds=9, budget=budget)
    with pytest.raises(BudgetExhausted, match=r"is spent and one more round would make it"):
        run(strategy, {1: honest(constant(0.0))}, rounds=9)
    assert sum(release.count for release in strategy.ledger.releases("people")) == 3


def test_statistics_come_noised_from_inside_the_release(tmp_path):
    strategy = make_strategy(tmp_path, {1: 4, 2: 4}, z=TINY_NOISE)
    run(strategy, {1: honest(constant(0.0), loss=2.0), 2: honest(constant(50.0), loss=3.0)})
    statistics = strategy.last_report.statistics
    assert statistics["train_loss"] == pytest.approx(2.5, abs=0.2)
    assert statistics["clipped_share"] == pytest.approx(0.5, abs=0.02)


def test_statistics_are_bounded_for_a_lying_speaker(tmp_path):
    strategy = make_strategy(tmp_path, {1: 1}, z=TINY_NOISE)
    run(strategy, {1: honest(constant(0.0), loss=math.inf)})
    assert 0 <= strategy.last_report.statistics["train_loss"] <= 10


def test_other_runs_on_the_people_make_the_budget_a_filter(tmp_path):
    """PLD of everything together, as of one fixed plan, would let all four rounds through."""
    plan = PrivacyPlan(population=10, cohort=2.0, rounds=4, noise_multiplier=1.3, delta=1e-6)
    budget = plan.epsilon(7).value
    strategy = make_strategy(tmp_path, {1: 10}, cohort=2, z=1.3, rounds=4, budget=budget)
    for dataset in ("people", "other people", "other people"):
        strategy.ledger.spend(plan.release, run="another", dataset=dataset, round=1)
    with pytest.raises(BudgetExhausted, match="Other releases on this population"):
        run(strategy, {1: honest(constant(0.0))}, rounds=4)
    assert strategy.ledger.releases("people", "test") == (replace(plan.release, count=2),)


def test_a_node_without_a_drawn_speaker_is_not_contacted(tmp_path):
    strategy = make_strategy(tmp_path, dict.fromkeys(range(1, 60), 1), cohort=5)
    grid = FakeGrid(dict.fromkeys(range(1, 60), honest(constant(0.0))))
    strategy.start(StreamingGrid(grid), strategy.arrays(), num_rounds=1, timeout=1.0)
    assert len(grid.pushed) == strategy.last_report.drawn == strategy.last_report.nodes_asked < 59


def test_the_ledger_says_nothing_of_who_or_how_many_were_drawn(tmp_path):
    """That is the secret that amplification by sampling rests on; a time would tell how many."""
    releases = []
    for number in range(5):
        (folder := tmp_path / str(number)).mkdir()
        strategy = make_strategy(folder, {1: 50}, cohort=5)
        run(strategy, {1: honest(constant(0.0))})
        entry = json.loads((folder / "ledger.jsonl").read_text().splitlines()[0])
        assert set(entry) == {
            *("sequence", "run", "dataset", "round", "release", "time_utc", "previous", "digest"),
        }
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", entry["time_utc"])
        releases.append(entry["release"])
    assert all(release == releases[0] for release in releases)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"noise_shape": "flat"}, "noise shape"),
        ({"bounds": replace(BOUNDS, action="normalise"), "noise_shape": "variance-optimal"}, "joint rule"),
        ({"quantiser": Quantiser.of(BOUNDS, bits=3)}, "too coarse for statistics"),
    ],
)
def test_a_mechanism_that_cannot_be_is_refused_before_anything_is_spent(tmp_path, settings, complaint):
    with pytest.raises(ValueError, match=complaint):
        make_strategy(tmp_path, {1: 4}, **settings)


def test_a_plan_for_another_population_is_refused(tmp_path):
    parts = make_parts(tmp_path, {1: 4})
    other = PrivacyPlan(population=9, cohort=2.0, rounds=3, noise_multiplier=1.0, delta=1e-6)
    with pytest.raises(ValueError, match="plan is for 9 speakers, the nodes hold 4"):
        DPFedAdam(**{**parts, "mechanism": replace(parts["mechanism"], plan=other)}, learning_rate=0.1)


def test_bounds_of_another_model_are_refused(tmp_path):
    parts = make_parts(tmp_path, {1: 4})
    larger = GlobalModel.of(torch.nn.Linear(9, 9))
    with pytest.raises(ValueError, match="bounds are for 31 coordinates, the layout has 90"):
        DPFedAdam(**{**parts, "model": larger}, learning_rate=0.1)


def test_noise_comes_from_the_plan_alone_and_a_quantiser_of_other_bounds_is_refused(tmp_path):
    """Correlated noise for a plan without bands would let a speaker into one cycle twice, uncharged."""
    with pytest.raises(TypeError, match="noise"):
        make_strategy(tmp_path / "a", {1: 4}, noise=BandedNoise(4))
    with pytest.raises(ValueError, match="belongs to a clip bound"):
        make_strategy(tmp_path / "b", {1: 4}, quantiser=Quantiser(step=QUANTISER.step / 2, bits=20))


def test_a_round_that_failed_is_over_and_its_cohort_is_not_released_again(tmp_path):
    """Two releases of one cohort cost more than two of fresh cohorts, which is what the ledger counts."""

    class Breaking(PlainStep):
        def step_(self, vector, pseudo_gradient, learning_rate):
            raise OSError("disk full")

    strategy = make_strategy(tmp_path, {1: 4}, optimiser=Breaking())
    grid = StreamingGrid(FakeGrid({1: honest(constant(0.0))}))
    replies = list(
        grid.send_and_receive(strategy.configure_train(1, strategy.arrays(), None, grid), timeout=1.0)
    )
    with pytest.raises(OSError, match="disk full"):
        strategy.aggregate_train(1, replies)
    strategy.optimiser = PlainStep()
    with pytest.raises(RuntimeError, match="configure_train comes first"):
        strategy.aggregate_train(1, replies)
    assert len(strategy.ledger.entries) == 1
    assert not strategy.vector.any()


def test_raw_metrics_are_asked_for_and_handed_on_only_on_demand(tmp_path):
    told = []
    nodes = {1: honest(constant(0.0)), 2: honest(constant(0.0)), 3: failing()}
    asking = make_strategy(
        tmp_path, {1: 2, 2: 3, 3: 1}, on_raw_metrics=lambda *line: told.append((*line[:2], line[2].trained))
    )
    run(asking, nodes, rounds=2)
    assert sorted(told) == [(1, 1, 2), (1, 2, 3), (2, 1, 2), (2, 2, 3)]
    grid = FakeGrid({1: honest(constant(0.0))})
    make_strategy(tmp_path / "b", {1: 1}).start(
        StreamingGrid(grid), asking.arrays(), num_rounds=1, timeout=1.0
    )
    assert not any(message.content["task"]["raw-metrics"] for message in grid.pushed)


def test_a_sum_of_64_bits_becomes_the_same_mean(tmp_path):
    """The mean is written into the sum's memory, whose numbers may be longer than its own."""
    vectors = []
    for cohort in (4, 2**12):  # the second needs 64 bits
        strategy = make_strategy(tmp_path / str(cohort), {1: cohort}, cohort=cohort, z=TINY_NOISE)
        run(strategy, {1: honest(lambda number: torch.linspace(-0.05, 0.05, LAYOUT.size))})
        vectors.append(strategy.vector)
    torch.testing.assert_close(*vectors, rtol=0, atol=2e-3)
