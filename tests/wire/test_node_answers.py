"""Attacks on one participant's part of a sum: whatever a training returns, it adds at most its bounds."""

import random
from itertools import pairwise

import numpy as np
import pytest
import torch

from privacy import ClipBounds, LayerLayout, Quantiser
from privacy.clipping.quantisation import limited_ranges
from privacy.group_statistics import bounds_with_statistics
from wire.messages import Task
from wire.node_answers import NodeSum

LAYOUT = LayerLayout.of(
    {"front.w": (6, 4), **{f"blocks.{n}.{part}": (7,) for n in range(9) for part in "wb"}, "scale": ()}
)
SIZES = (0.0, 1e-45, 1e-30, 1e-3, 0.2, 0.7, 1.0, 3.0, 1e4, 3e38)
ODD = (float("nan"), float("inf"), -float("inf"), 3.4e38, -0.0, 1e-45)
LOSSES = (0.0, 10.0, -1e300, 1e300, float("nan"), float("inf"), 5.0)
KINDS = [
    *({"rule": rule, "action": action} for rule in ("uniform", "global") for action in ("clip", "normalise")),
    {"rule": "power", "adaptive": True},
]


def task_of(bounds: ClipBounds, bits: int = 20) -> Task:
    quantiser = Quantiser.of(bounds, bits=bits)
    labels = {"round_number": 1, "nonce": "", "layout": LAYOUT.digest, "speakers": (0,)}
    return Task(**labels, bounds=bounds, quantiser=quantiser)


def update_of(choose: random.Random, generator: np.random.Generator, bounds: ClipBounds) -> torch.Tensor:
    """An update with each tensor of a size of its own, and what the attacker likes in the room behind it."""
    double = choose.random() < 0.3
    parts = [choose.choice(SIZES) * generator.standard_normal(size) / size**0.5 for size in LAYOUT.sizes]
    values = np.concatenate([*parts, np.zeros(bounds.size - LAYOUT.size)])
    if choose.random() < 0.5:  # at or just beside its bounds, where rounding could pass them
        for (begin, end), bound in zip(pairwise(bounds.offsets), bounds.bounds, strict=True):
            norm = np.linalg.norm(values[begin:end])
            if 0 < norm < np.inf:
                values[begin:end] *= bound / norm * choose.choice([1 - 1e-7, 1.0, 1 + 1e-7, 2.0])
    if choose.random() < 0.3:
        values[choose.randrange(LAYOUT.size)] = choose.choice((*ODD, 1e200) if double else ODD)
    values[LAYOUT.size :] = choose.choice(SIZES) * generator.standard_normal(len(values) - LAYOUT.size)
    with np.errstate(over="ignore"):
        made = torch.from_numpy(values if double else values.astype(np.float32))
    return made[: LAYOUT.size] if choose.random() < 0.2 else made


@pytest.mark.parametrize("by_group", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_guarantee_no_update_adds_more_than_the_bound_of_any_slice(kind, by_group):
    bounds = bounds_with_statistics(total=0.7, layout=LAYOUT, by_group=by_group, **kind)
    choose, generator = random.Random(str(kind)), np.random.default_rng(5)
    for bits in (12, 20, 24):
        task = task_of(bounds, bits)
        for _ in range(40):
            total = NodeSum(task, LAYOUT)
            total.add(update_of(choose, generator, bounds), loss=choose.choice(LOSSES))
            squares = [one * one for one in total.integers.tolist()]
            for first, begin, end, limit in limited_ranges(bounds, task.quantiser):
                assert sum(squares[begin:end]) <= limit, (first, bits)
            assert sum(squares) <= 4**bits


@pytest.mark.parametrize("adaptive", [False, True])
def test_what_a_training_writes_behind_its_update_changes_nothing(adaptive):
    """A speaker process that a recording took over writes into all of the memory that it shares."""
    bounds = bounds_with_statistics("uniform", 0.7, LAYOUT, by_group=True, adaptive=adaptive)
    task, update = task_of(bounds), torch.full((bounds.size,), 0.01)
    clean, attacked = NodeSum(task, LAYOUT), NodeSum(task, LAYOUT)
    clean.add(update[: LAYOUT.size].clone(), loss=1.0)
    update[LAYOUT.size :] = 100.0
    attacked.add(update, loss=1.0)
    assert torch.equal(clean.integers, attacked.integers)


@pytest.mark.parametrize("statistics", [0, 1, 3, 19])
def test_a_task_with_another_number_of_statistics_is_refused(statistics):
    task = task_of(ClipBounds.of("uniform", 0.7, LAYOUT, statistics=statistics))
    with pytest.raises(ValueError, match=f"have {statistics} statistics; a run of this model has 2, or 14"):
        NodeSum(task, LAYOUT)
