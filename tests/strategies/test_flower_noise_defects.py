"""D10, D12 to D14: what Flower's floats, errors and optimisers let through, and ours do not.

As `test_flower_defects`: the control first, with its number, then what holds in ours.
"""

import math

import numpy as np
import torch
from flwr.app import ConfigRecord
from flwr.serverapp.strategy import (
    FedAdam,
)

from optim import Adam
from tests.strategies.control import (
    QUIET,
    fed_avg,
    flower_moves,
    flower_round,
    our_moves,
    std_holds,
    theirs,
    wrapped,
)
from tests.strategies.federation import (
    BOUNDS,
    LAYOUT,
    QUANTISER,
    answer_to,
    failing,
    honest,
    integers_of,
    make_strategy,
)
from tests.strategies.flower import FakeGrid
from wire.messages import Task


def constant(value):
    return lambda number: torch.full((LAYOUT.size,), float(value))


NOTHING = honest(constant(0.0))
LARGE = honest(constant(50.0))


def test_d10_the_low_bits_of_flowers_floats_tell_the_update_and_ours_lie_on_one_grid(tmp_path):
    """C per coordinate and z = 1: "a multiple of 2**-24 below 2**-10" is likely only beside a 1."""
    size = 1_000_000
    events = []
    for value in (1.0, 1e-12):
        start, nodes = {"w": np.zeros(size, np.float32)}, [theirs({"w": np.full(size, value, np.float32)})]
        scale = math.sqrt(size)
        moved, _ = flower_round(wrapped(1, z=1 / scale, clip=scale), start, nodes)
        steps = moved["w"].astype(np.float64) * 2**24
        events.append(int(((np.abs(steps) < 2**14) & (steps == np.rint(steps))).sum()))
    beside_one, beside_nothing = events
    assert 350 < beside_one < 600  # 4.7e-4 of a million
    assert beside_nothing < 15  # 6.7e-7 of a million

    for node in (LARGE, NOTHING):
        released = our_moves(tmp_path, node, z=1.0)
        steps = torch.round(released / QUANTISER.step)
        assert torch.equal((steps * QUANTISER.step).float(), released.float())


def test_d12_flowers_clipped_norm_lies_above_the_bound_and_ours_never():
    """In float32 by about 1e-7: negligible, and yet no guarantee."""
    generator = torch.Generator().manual_seed(7)
    updates = [torch.randn(LAYOUT.size, generator=generator) * 9 for _ in range(30)]
    norms = [
        np.linalg.norm(flower_moves([theirs({"w": one.numpy()})], start=zeros()).astype(np.float64))
        for one in updates
    ]
    assert 1 < max(norms) < 1 + 1e-6

    task = Task(
        round_number=1, nonce="n", layout=LAYOUT.digest, speakers=(0,), bounds=BOUNDS, quantiser=QUANTISER
    )
    ours = [integers_of(answer_to(task, lambda number, one=one: one, 1e9)).long() for one in updates]
    assert max(int((integers**2).sum()) for integers in ours) <= 4**QUANTISER.bits


def zeros():
    return {"w": np.zeros(LAYOUT.size, np.float32)}


def test_d13_one_error_costs_flower_the_round_and_ours_one_reply(tmp_path):
    good = theirs({"w": np.full(2, 0.1)})
    assert flower_round(wrapped(4), {"w": np.zeros(2)}, [good, good, good, failing()]) == (None, None)

    speaker = honest(constant(1e-3))
    ours = our_moves(tmp_path, speaker, speaker, speaker, failing())
    assert (ours - 0.75e-3).abs().max() < 6 * QUIET / 4


class Watched(Adam):
    """Adam that remembers what it was given."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def step_(self, vector, pseudo_gradient, learning_rate):
        self.seen.append(pseudo_gradient.clone())
        super().step_(vector, pseudo_gradient, learning_rate)


def test_d14_flowers_optimiser_sees_the_data_before_the_noise_and_ours_only_the_release(tmp_path):
    """C = 0.01 and n = 4: one client may move the mean by 0.0025; Adam turns that into whole steps."""
    still = [theirs({"w": np.full(100, 1e-12)})] * 3
    moved = []
    for side in (1.0, -1.0):
        inner = fed_avg(4, FedAdam, eta=0.1, tau=1e-9)
        last = theirs({"w": np.full(100, side)})
        moved.append(flower_round(wrapped(4, clip=0.01, inner=inner), {"w": np.zeros(100)}, [*still, last]))
    (one, _), (other, _) = moved
    assert np.linalg.norm(one["w"] - other["w"]) > 100 * 0.0025  # the noise is calibrated to 0.0025

    watched = Watched()
    strategy = make_strategy(tmp_path, {1: 2}, z=1.0, rounds=200, optimiser=watched)
    replayed, adam = torch.zeros(LAYOUT.size), Adam()
    for number in range(1, 201):
        grid = FakeGrid({1: NOTHING})
        messages = strategy.configure_train(number, strategy.arrays(), ConfigRecord(), grid)
        strategy.aggregate_train(number, iter(grid.send_and_receive(messages)))
        adam.step_(replayed, watched.seen[-1], strategy.last_report.learning_rate)
    assert torch.equal(replayed, strategy.vector)  # the model is a function of releases alone ...
    assert std_holds(torch.stack(watched.seen).numpy(), BOUNDS.total / 2)  # ... that hold all the noise
