import pytest
import torch

from base.registries import SERVER_OPTIMISERS
from optim import SGD, Adam
from strategies import (
    DPFedAdaGrad,
    DPFedAdam,
    DPFedAvgM,
    DPFedLAMB,
    DPFedLARS,
    DPFedOpt,
    DPFedYogi,
    ServerStep,
    StreamingGrid,
    strategy_class,
)
from tests.strategies.federation import LAYOUT, honest, make_parts
from tests.strategies.flower import FakeGrid

TINY_NOISE = 1e-4
UPDATE = 0.05  # of every coordinate, below every layer's bound

# The first step at learning rate 0.01 from weights of 1, in every coordinate.
FIRST_STEP = {
    DPFedAdam: ({"beta1": 0.5}, 0.01),
    DPFedYogi: ({"epsilon": 1e-6, "initial_accumulator": 0.0}, 0.01),
    DPFedAdaGrad: ({"epsilon": 1e-6}, 0.01),
    DPFedAvgM: ({"momentum": 0.5}, 0.01 * UPDATE),
    DPFedLAMB: ({"trust_ratio_cap": 0.7}, 0.7 * 0.01),
    DPFedLARS: ({"trust_coefficient": 0.1}, 0.1 * 0.01),
}


def test_every_optimiser_has_its_strategy():
    assert {strategy.optimiser_name for strategy in FIRST_STEP} == set(SERVER_OPTIMISERS)
    assert {strategy_class(strategy.optimiser_name) for strategy in FIRST_STEP} == set(FIRST_STEP)


@pytest.mark.parametrize("strategy", FIRST_STEP, ids=lambda strategy: strategy.__name__)
def test_it_steps_as_its_optimiser_does_with_the_settings_it_was_given(tmp_path, strategy):
    settings, step = FIRST_STEP[strategy]
    parts = make_parts(tmp_path, {1: 2}, z=TINY_NOISE)
    parts["model"].vector.fill_(1.0)
    made = strategy(**parts, learning_rate=0.01, **settings)
    node = honest(lambda number: torch.full((LAYOUT.size,), UPDATE))
    made.start(StreamingGrid(FakeGrid({1: node})), made.arrays(), num_rounds=1, timeout=1.0)
    torch.testing.assert_close(1 - made.vector, torch.full((LAYOUT.size,), step), rtol=1e-2, atol=0)


def test_an_optimiser_of_another_package_has_the_strategy_that_takes_any():
    @SERVER_OPTIMISERS.add("theirs")
    class Theirs(SGD):
        """As an entry point would bring it."""

    try:
        assert strategy_class("theirs") is DPFedOpt
    finally:
        SERVER_OPTIMISERS.remove("theirs")


def test_a_strategy_takes_only_steps_of_its_own_optimiser(tmp_path):
    parts = make_parts(tmp_path, {1: 2})
    step = ServerStep(optimiser=Adam(beta2=0.9), learning_rate=0.1)
    assert DPFedAdam(**parts, server_step=step).optimiser is step.optimiser
    with pytest.raises(ValueError, match="DPFedYogi steps by 'yogi', got an optimiser of the class Adam"):
        DPFedYogi(**parts, server_step=step)
    for ambiguous in ({}, {"server_step": step, "learning_rate": 0.1}, {"server_step": step, "beta1": 0.5}):
        with pytest.raises(ValueError, match="or else a server_step alone"):
            DPFedAdam(**parts, **ambiguous)
    with pytest.raises(ValueError, match=r"has no setting \['momentum'\]"):
        DPFedAdam(**parts, learning_rate=0.1, momentum=0.9)
