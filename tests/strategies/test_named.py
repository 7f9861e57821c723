import pytest
import torch

from base.registries import SERVER_OPTIMISERS
from strategies import DPFedAdaGrad, DPFedAdam, DPFedAvgM, DPFedLAMB, DPFedLARS, DPFedYogi, StreamingGrid
from tests.strategies.federation import LAYOUT, honest, make_strategy
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


@pytest.mark.parametrize("strategy", FIRST_STEP, ids=lambda strategy: strategy.__name__)
def test_it_steps_as_its_optimiser_does_with_the_settings_it_was_given(tmp_path, strategy):
    base = make_strategy(tmp_path, {1: 2}, z=TINY_NOISE)
    names = ("layout", "plan", "bounds", "quantiser", "population_index", "ledger", "run_id", "dataset")
    settings, step = FIRST_STEP[strategy]
    made = strategy(
        vector=torch.ones(LAYOUT.size),
        learning_rate=0.01,
        **{name: getattr(base, name) for name in names},
        **settings,
    )
    node = honest(lambda number: torch.full((LAYOUT.size,), UPDATE))
    made.start(StreamingGrid(FakeGrid({1: node})), made.arrays(), num_rounds=1, timeout=1.0)
    torch.testing.assert_close(1 - made.vector, torch.full((LAYOUT.size,), step), rtol=1e-2, atol=0)
