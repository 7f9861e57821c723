"""Adaptive bounds inside a round: the same for clip and noise, moved afterwards, kept by the state."""

import pytest
import torch

from privacy import ClipBounds, QuantileClip, Quantiser
from privacy.noise.independent import IndependentNoise
from privacy.released_metrics import STATISTICS
from strategies import StreamingGrid
from tests.strategies.federation import LAYOUT, honest, make_strategy
from tests.strategies.flower import FakeGrid
from wire.messages import Task

ADAPTIVE = ClipBounds.of("uniform", 1.0, LAYOUT, statistics=len(STATISTICS), adaptive=True)
LARGE = {1: honest(lambda number: torch.full((LAYOUT.size,), 50.0))}
SMALL = {1: honest(lambda number: torch.full((LAYOUT.size,), 1e-6))}


class Watching(IndependentNoise):
    """Independent noise that remembers for which bounds it was asked."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def noised_blocks(self, sums, bounds, quantiser, noise_multiplier, source):
        self.seen.append((bounds, quantiser))
        return super().noised_blocks(sums, bounds, quantiser, noise_multiplier, source)


def adaptive_strategy(folder, **settings):
    return make_strategy(folder, {1: 4}, z=1e-3, bounds=ADAPTIVE, adaptive=QuantileClip(), **settings)


def run(strategy, nodes, rounds):
    flower = FakeGrid(nodes)
    strategy.start(StreamingGrid(flower), strategy.arrays(), num_rounds=rounds, timeout=5.0)
    return [Task.from_message(message)[0].bounds for message in flower.pushed]


def test_clip_and_noise_of_a_round_use_the_same_bounds(tmp_path):
    """The defect D9b of others: bounds moved before the noise is drawn."""
    noise = Watching()
    strategy = adaptive_strategy(tmp_path)
    strategy.noise = noise
    asked = run(strategy, LARGE, 3)
    assert [bounds for bounds, _ in noise.seen] == asked
    assert [quantiser for _, quantiser in noise.seen] == [Quantiser.of(bounds) for bounds in asked]
    assert asked[0].total < asked[1].total < asked[2].total


def test_bounds_rise_where_all_are_clipped_and_fall_where_none_is(tmp_path):
    up, down = adaptive_strategy(tmp_path / "up"), adaptive_strategy(tmp_path / "down")
    run(up, LARGE, 5)
    run(down, SMALL, 5)
    assert up.bounds.total == pytest.approx(2.718**0.5, rel=0.02)
    assert down.bounds.total == pytest.approx(2.718**-0.5, rel=0.02)
    assert up.last_report.clip_bound < up.bounds.total


def test_adaptive_clipping_costs_no_epsilon(tmp_path):
    strategy = adaptive_strategy(tmp_path)
    run(strategy, LARGE, 2)
    assert strategy.ledger.releases("people")[0].noise_multiplier == strategy.plan.noise_multiplier


def test_the_state_carries_the_bounds_exactly(tmp_path):
    first, second = adaptive_strategy(tmp_path / "1"), adaptive_strategy(tmp_path / "2")
    run(first, LARGE, 3)
    second.load_state_dict(first.state_dict())
    assert (second.bounds, second.quantiser) == (first.bounds, first.quantiser)


def test_a_state_of_other_mechanisms_is_refused(tmp_path):
    plain = make_strategy(tmp_path / "1", {1: 4})
    assert plain.state_dict() == {}
    with pytest.raises(ValueError, match=r"clip_bounds.*this run keeps \[\]"):
        plain.load_state_dict(adaptive_strategy(tmp_path / "2").state_dict())


def test_bounds_without_indicators_cannot_adapt(tmp_path):
    with pytest.raises(ValueError, match="adaptive=True"):
        make_strategy(tmp_path, {1: 4}, adaptive=QuantileClip())
