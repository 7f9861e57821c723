"""Rounds whose release has statistics by group of layers: what they say, what they cost, and what stays."""

import math
from dataclasses import replace

import pytest
import torch
from flwr.app import ConfigRecord

from privacy import ClipBounds, LayerLayout
from privacy.clipping.adaptive import QuantileClip
from privacy.group_statistics import bounds_with_statistics
from strategies import StreamingGrid
from tests.strategies.federation import BOUNDS, LAYOUT, honest, make_strategy
from tests.strategies.flower import FakeGrid
from wire.node_answers import answer_task

TINY_NOISE = 1e-4
SIZES = {"weight": 24, "bias": 6, "scale": 1}  # of the three groups


def bounds_of(rule="uniform", by_group=True, **settings):
    return bounds_with_statistics(rule, 1.0, LAYOUT, by_group=by_group, **settings)


def federate(folder, update_of, bounds, *, speakers=4, rounds=1, layout=LAYOUT, **settings):
    """`rounds` rounds in one process, with nodes that answer as those of other programs do."""

    def node(message):
        return answer_task(message, layout, lambda number, vector: (update_of(number), 2.0)).content

    strategy = make_strategy(folder, {1: speakers}, bounds=bounds, **settings)
    grid = StreamingGrid(FakeGrid({1: node}))
    strategy.start(grid, strategy.arrays(), num_rounds=rounds, timeout=5.0)
    return strategy


def flat(size):
    """An update all of whose tensors have the norm `size`."""
    return torch.cat([torch.full((n,), size / n**0.5) for n in SIZES.values()])


@pytest.mark.parametrize("rule", ["uniform", "global"])
def test_the_release_has_the_geometric_mean_of_the_norms_and_the_share_clipped(tmp_path, rule):
    bounds = bounds_of(rule)
    norms = (0.01, 0.1, 1.0, 3.0)
    report = federate(tmp_path, lambda number: flat(norms[number]), bounds, z=TINY_NOISE).last_report
    assert report.statistics["train_loss"] == pytest.approx(2.0, abs=0.05)
    assert [one.name for one in report.groups] == list(SIZES)
    expected = math.exp(sum(math.log(one) for one in norms) / 4)
    for group in report.groups:
        assert group.update_norm == pytest.approx(expected, rel=0.03)
        shares = None if rule == "global" else pytest.approx(0.5, abs=0.01)
        assert group.clipped_share == shares
        assert group.signal_to_noise > 100


def test_bounds_that_adapt_measure_norms_by_the_bounds_of_the_round(tmp_path):
    bounds, adaptive = bounds_of(adaptive=True), QuantileClip(rate=1.0)
    strategy = federate(
        tmp_path, lambda number: flat(0.05), bounds, z=TINY_NOISE, rounds=3, adaptive=adaptive
    )
    assert max(strategy.bounds.bounds[:3]) < 0.3 * max(bounds.bounds[:3])
    for group in strategy.last_report.groups:
        assert group.update_norm == pytest.approx(0.05, rel=0.03)


def test_a_normalised_update_is_measured_before_it_is_scaled(tmp_path):
    bounds = bounds_of(action="normalise")
    report = federate(tmp_path, lambda number: flat(4.0), bounds, z=TINY_NOISE).last_report
    assert [one.update_norm for one in report.groups] == [pytest.approx(4.0, rel=0.03)] * 3
    assert [one.clipped_share for one in report.groups] == [pytest.approx(1.0, abs=0.01)] * 3


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"noise_shape": "variance-optimal"},
        {"plan_settings": {"bands": 2}, "cohort": 2},
        {"plan_settings": {"cohort_cap": 3}, "cohort": 2},
    ],
)
def test_what_is_charged_is_the_same_with_and_without(tmp_path, settings):
    spent = []
    for by_group in (False, True):
        bounds = bounds_of(by_group=by_group)
        folder = tmp_path / str(by_group)
        strategy = federate(folder, lambda number: flat(0.1), bounds, rounds=3, **settings)
        spent.append(strategy.ledger.releases("people"))
        assert bool(strategy.last_report.groups and strategy.last_report.groups[0].update_norm) == by_group
    assert spent[0] == spent[1] != ()
    assert spent[0][0].noise_multiplier == strategy.plan.noise_multiplier


def test_without_the_option_an_answer_is_as_ever_to_the_bit(tmp_path):
    """`honest` adds as all releases without the option did."""
    strategy = make_strategy(tmp_path, {1: 4})
    (task,) = strategy.configure_train(1, strategy.arrays(), ConfigRecord(), FakeGrid({}))
    own = answer_task(task, LAYOUT, lambda number, vector: (flat(0.4 * number), 2.0)).content
    before = honest(lambda number: flat(0.4 * number), loss=2.0)(task)
    assert own["sum"] == before["sum"] and own["answer"] == before["answer"]


def test_signal_to_noise_comes_without_the_option_and_from_released_values_alone(tmp_path):
    """|r|^2 / E|n|^2 - 1 is the square of what is reported, for the very mean that the server steps by."""
    strategy = federate(tmp_path, lambda number: flat(0.1), BOUNDS, z=0.5)
    groups, scale = strategy.last_report.groups, 0.5 / 4 * BOUNDS.total
    for group, layer in zip(groups, LAYOUT.views(strategy.vector).values(), strict=True):
        ratio = float(layer.double().square().sum()) / (layer.numel() * scale**2) - 1
        assert group.signal_to_noise**2 == pytest.approx(max(0.0, ratio), abs=1e-4)
        assert group.update_norm is None and group.clipped_share is None


@pytest.mark.parametrize("settings", [{"z": 0.0}, {"plan_settings": {"bands": 2}, "cohort": 2}])
def test_where_the_noise_of_a_round_says_little_there_is_no_signal_to_noise(tmp_path, settings):
    strategy = federate(tmp_path / "plain", lambda number: flat(0.1), BOUNDS, **settings)
    assert strategy.last_report.groups == ()
    strategy = federate(tmp_path / "groups", lambda number: flat(0.1), bounds_of(), **settings)
    assert all(one.signal_to_noise is None and one.update_norm for one in strategy.last_report.groups)


def test_a_node_refuses_a_task_with_other_statistics_and_a_server_such_a_mechanism(tmp_path):
    bounds = ClipBounds.of("uniform", 1.0, LAYOUT, statistics=5)
    with pytest.raises(ValueError, match="have 5 statistics; a run of this model has 2, or 8 with"):
        make_strategy(tmp_path / "server", {1: 4}, bounds=bounds)
    with pytest.raises(ValueError, match="have 1 statistics, every run has 2 or more"):
        make_strategy(tmp_path / "few", {1: 4}, bounds=ClipBounds.of("uniform", 1.0, LAYOUT, statistics=1))
    strategy = make_strategy(tmp_path / "node", {1: 4})
    strategy.bounds = replace(bounds)
    replies = []

    def node(message):
        content = answer_task(message, LAYOUT, lambda number, vector: (flat(0.1), 2.0)).content
        replies.append(content["answer"].get("problem"))
        return content

    tasks = strategy.configure_train(1, strategy.arrays(), ConfigRecord(), FakeGrid({}))
    node(tasks[0])
    assert replies == ["ValueError (details are in the node's own log)"]


def test_a_layout_of_one_layer_has_one_group():
    layout = LayerLayout.of({"w": (4,)})
    assert bounds_with_statistics("uniform", 1.0, layout, by_group=True).statistics == 3
