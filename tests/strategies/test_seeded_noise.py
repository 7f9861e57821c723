"""A run with repeatable noise: repeatable, and without privacy in its ledger."""

import math

import pytest
import torch

from strategies import StreamingGrid
from tests.strategies.federation import LAYOUT, honest, make_strategy
from tests.strategies.flower import FakeGrid


@pytest.mark.parametrize("bands", [1, 2])
def test_it_repeats_and_its_ledger_shows_no_privacy(tmp_path, bands):
    vectors = []
    for name in ("first", "second"):
        seeded = {"noise_source": "seeded-not-private", "noise_seed": 7, "bands": bands}
        strategy = make_strategy(tmp_path / name, {1: 4}, cohort=4 / bands, plan_settings=seeded)
        nodes = {1: honest(lambda number: torch.full((LAYOUT.size,), 0.01))}
        strategy.start(StreamingGrid(FakeGrid(nodes)), strategy.arrays(), num_rounds=3, timeout=5.0)
        vectors.append(strategy.vector)
        assert strategy.ledger.epsilon(1e-6).value == math.inf
    assert torch.equal(*vectors)
    assert vectors[0].std() > 0.1
