"""D1 to D7: what gets past Flower's clip, weights and noise, shown in numbers, and does not get past ours.

Each test first runs Flower's own DP wrapper and shows the wrong behaviour, then the same on our strategy.
If a test fails in its first half, Flower has mended the defect.
"""

import dataclasses
import random

import numpy as np
import pytest
import torch
from torch import nn

from privacy import LayerLayout, epsilon, pack
from privacy.accounting.epsilon import Release
from strategies import bind
from tests.privacy.sum_checks import clip_to_steps
from tests.strategies.control import (
    QUIET,
    flower_cohort,
    flower_moves,
    flower_round,
    our_moves,
    our_release,
    reach,
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
    silent,
)
from wire.messages import Task


def constant(value):
    return lambda number: torch.full((LAYOUT.size,), float(value))


NOTHING = honest(constant(0.0))
SMALL = honest(constant(1e-3))


def spoiled(change):
    """A node whose honest answer is changed before it is sent."""

    def node(message):
        task, _ = Task.from_message(message)
        return change(answer_to(task, constant(0.05))).to_record()

    return node


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_d1_one_value_that_is_not_finite_is_the_whole_model_of_flower_and_zero_in_ours(tmp_path, bad):
    good = theirs({"w": np.full(2, 0.1)})
    with np.errstate(invalid="ignore"):
        moved = flower_moves([good, good, good, theirs({"w": np.array([bad, 0.0])})])
    assert np.isnan(moved).any()

    ours = our_moves(tmp_path, SMALL, SMALL, SMALL, honest(constant(bad)))
    assert torch.isfinite(ours).all()
    assert (ours - 0.75e-3).abs().max() < 6 * QUIET / 4


@pytest.mark.parametrize(("weight", "influence"), [(1, 0.5), (1e6, 2.0), (-2.999, 5998.0)])
def test_d2_a_weight_that_a_client_claims_multiplies_its_influence_only_in_flower(
    tmp_path, weight, influence
):
    """C = 1 and n = 4: whoever is replaced may move the mean by 2 C / n = 0.5."""
    still = [theirs({"w": np.array([0.0, 1e-9])})] * 3
    there, back = (
        flower_moves([*still, theirs({"w": np.array([side, 0.0])}, weight=weight)]) for side in (1.0, -1.0)
    )
    assert np.linalg.norm(there - back) == pytest.approx(influence, rel=1e-3)

    claim = spoiled(lambda answer: dataclasses.replace(answer, count=int(weight)))
    ours = our_moves(tmp_path, NOTHING, NOTHING, NOTHING, claim)
    assert ours.norm() <= reach(4)
    assert (ours.norm() > 10 * QUIET) == (weight == 1)  # any other count is refused whole


def test_d3_flower_returns_the_exact_loss_and_ours_only_a_noised_one(tmp_path):
    nodes = [theirs({"w": np.full(2, 0.1)}, train_loss=float(loss)) for loss in (1, 2, 3, 6)]
    _, metrics = flower_round(wrapped(4, z=1.0), {"w": np.zeros(2)}, nodes)
    assert dict(metrics) == {"train_loss": 3.0}

    rounds, z = 150, 1.0
    strategy = make_strategy(tmp_path, {1: 4}, z=z, rounds=rounds)
    losses = []
    for number in range(1, rounds + 1):
        our_release(strategy, {1: honest(constant(0.0), loss=3.0)}, number)
        losses.append(strategy.last_report.statistics["train_loss"])
    std = 5.0 * z * BOUNDS.total * np.sqrt(2) / BOUNDS.bounds[-1] / 4  # 10 wide, a share of the bound
    assert std_holds(np.array(losses) - 3.0, std)


def test_d4_dropouts_take_flowers_noise_away_and_leave_ours(tmp_path):
    """Two of ten answer: Flower's noise is for ten, its mean over two, so z falls to a fifth."""
    size = 20_000
    lone = [theirs({"w": np.eye(1, size)[0]}), theirs({"w": np.full(size, 1e-9)})]
    start = {"w": np.zeros(size)}
    moved, _ = flower_round(wrapped(10), start, [*lone, *[silent] * 8])
    noisy, _ = flower_round(wrapped(10, z=1.0), start, [*lone, *[silent] * 8])
    effective = (noisy["w"] - moved["w"]).std() / moved["w"].max()
    assert effective == pytest.approx(0.2, rel=0.03)
    paper = [Release(sampling_rate=1024 / 34_753, noise_multiplier=z, count=2006) for z in (2.048, 0.4096)]
    claimed, true = (epsilon([release], 1e-9).value for release in paper)
    assert (claimed, true) == (pytest.approx(4.217, abs=2e-3), pytest.approx(129, abs=1))

    lone_speaker = honest(constant(50.0))
    others = [failing()] * 8
    assert our_moves(tmp_path, lone_speaker, NOTHING, *others).norm() <= reach(10)
    strategy = make_strategy(tmp_path, dict.fromkeys(range(1, 11), 1), z=1.0, rounds=200)
    nodes = dict(enumerate([NOTHING, NOTHING, *others], start=1))
    released = torch.stack([our_release(strategy, nodes, number) for number in range(1, 201)])
    assert std_holds(released.numpy(), BOUNDS.total / 10)


def test_d5_a_zero_update_ends_flowers_round_and_is_ordinary_in_ours(tmp_path):
    with pytest.raises(ZeroDivisionError):
        flower_moves([theirs({"w": np.zeros(2)}), theirs({"w": np.ones(2)})])

    ours = our_moves(tmp_path, NOTHING, SMALL)
    assert (ours - 0.5e-3).abs().max() < 6 * QUIET / 2


def test_d6a_an_integer_buffer_aborts_flower_only_for_who_is_clipped_and_is_refused_by_ours():
    """An abort that depends on the data is itself a release."""
    start = {"count": np.zeros(3, dtype=np.int64)}

    def answer(value):
        return [theirs({"count": np.array([value, 0, 0])})] * 2

    assert flower_round(wrapped(2, clip=10.0), start, answer(5))[0]["count"][0] == 5
    with pytest.raises(np._core._exceptions._UFuncOutputCastingError):
        flower_round(wrapped(2, clip=10.0), start, answer(50))

    with pytest.raises(ValueError, match="running statistics"):
        bind(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    whole = torch.full((BOUNDS.size,), 50, dtype=torch.int64)
    assert clip_to_steps(whole, BOUNDS, QUANTISER).clipped == 1.0


def test_d6b_a_scalar_parameter_is_never_clipped_by_flower_and_always_by_ours(tmp_path):
    start = {"scale": np.array(0.0)}
    nodes = [theirs({"scale": np.array(1e6)}), *[theirs({"scale": np.array(1e-9)})] * 3]
    moved, _ = flower_round(wrapped(4), start, nodes)
    assert moved["scale"] == pytest.approx(250_000)  # the bound is C / n = 0.25

    only_scale = torch.zeros(LAYOUT.size)
    only_scale[-1] = 1e6
    ours = our_moves(tmp_path, honest(lambda number: only_scale), NOTHING, NOTHING, NOTHING)
    bound = BOUNDS.bounds[LAYOUT.names.index("scale")]
    assert ours[-1] == pytest.approx(bound / 4, rel=1e-3)


def seed_everything(seed):
    np.random.seed(seed)  # noqa: NPY002  (what Flower draws from)
    random.seed(seed)
    torch.manual_seed(seed)


def test_d6c_a_seed_repeats_flowers_noise_and_cohort_and_neither_of_ours(tmp_path):
    nodes = [theirs({"w": np.full(2, 1e-9)})] * 2
    draws, cohorts = [], []
    for _ in range(2):
        seed_everything(1234)
        draws.append(flower_moves(nodes, z=1.0))
        cohorts.append(flower_cohort(fraction=0.5, population=20))
    assert np.array_equal(*draws)
    assert cohorts[0] == cohorts[1] and len(cohorts[0]) == 10

    everyone = range(1, 201)
    strategy = make_strategy(tmp_path, dict.fromkeys(everyone, 1), cohort=100, z=1.0)
    releases, asked = [], []

    def listening(message):
        asked[-1].append(message.metadata.dst_node_id)
        return NOTHING(message)

    for number in (1, 2):
        seed_everything(1234)
        asked.append([])
        releases.append(our_release(strategy, dict.fromkeys(everyone, listening), number))
    assert not torch.equal(*releases)
    assert asked[0] != asked[1]  # the same 200 coins twice: a chance of 2**-200


def test_d7_reordered_names_pass_flowers_clip_and_not_ours(tmp_path):
    """Flower subtracts by position and adds by name; C = 0.01 and n = 4 bound the movement by 0.0025."""
    start = {"a": np.zeros(2), "b": np.array([490.0, 0.0])}
    still = theirs({"a": np.full(2, 1e-9), "b": start["b"]})
    swapped = theirs({"b": start["a"] + 1e-9, "a": start["b"]})
    moved, _ = flower_round(wrapped(4, clip=0.01), start, [still, still, still, swapped])
    assert np.linalg.norm(moved["b"]) == pytest.approx(122.5)

    renamed = LayerLayout.of([("bias", (6,)), ("weight", (6, 4)), ("scale", ())])
    other = spoiled(lambda answer: dataclasses.replace(answer, layout=renamed.digest))
    assert our_moves(tmp_path, NOTHING, NOTHING, NOTHING, other).abs().max() < 6 * QUIET / 4

    def roll(answer):
        return dataclasses.replace(answer, packed=pack(integers_of(answer).roll(7), 1, BOUNDS, QUANTISER))

    rolled = spoiled(roll)
    assert our_moves(tmp_path, NOTHING, NOTHING, NOTHING, rolled).norm() <= reach(4)
