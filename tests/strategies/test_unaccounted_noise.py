"""Noise that declares no accounting event releases nothing, also in another package's strategy."""

import pytest
import torch

from privacy import BandedNoise, IndependentNoise, UnaccountedMechanism
from tests.strategies.federation import honest, make_strategy
from tests.strategies.flower import FakeGrid

NODES = {1: honest(lambda number: torch.full((31,), 0.1))}


class Undeclared:
    """It would release the sum as it is."""

    def noised_blocks(self, sums, *_):
        yield 0, len(sums), sums.long().numpy()


def a_round(strategy):
    grid = FakeGrid(NODES)
    messages = list(strategy.configure_train(1, strategy.arrays(), None, grid))
    strategy.aggregate_train(1, grid.send_and_receive(messages))


@pytest.mark.parametrize("noise", [Undeclared(), BandedNoise(2)], ids=["undeclared", "of another plan"])
def test_noise_without_the_plans_accounting_releases_nothing(tmp_path, noise):
    strategy = make_strategy(tmp_path, {1: 4}, z=1.0)
    strategy.noise = noise
    before = strategy.vector.clone()
    with pytest.raises(UnaccountedMechanism, match=type(noise).__name__):
        a_round(strategy)
    assert torch.equal(strategy.vector, before)
    assert strategy.ledger.entries == () and strategy.last_report is None


def test_noise_with_the_plans_accounting_is_charged_for(tmp_path):
    """The same round is not refused for another reason."""
    strategy = make_strategy(tmp_path, {1: 4}, z=1.0)
    strategy.noise = IndependentNoise()
    a_round(strategy)
    assert [entry.release for entry in strategy.ledger.entries] == [strategy.plan.release]
