"""No extension can break the promise: a hostile one is refused before anything is released, or is harmless.

Extensions come from the registries of clip rules and noise shapes, and (in another package's strategy) as a
noise mechanism. These tests play the answers that could break the promise.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from base.registries import CLIP_RULES, NOISE_SHAPES
from base.registry import Registry
from privacy import (
    BandedNoise,
    ClipBounds,
    IndependentNoise,
    LayerLayout,
    Ledger,
    PrivacyPlan,
    Quantiser,
    Release,
    SecureGaussian,
    UnaccountedMechanism,
    add_clipped_,
    charge_of,
    joint_multiplier,
    make_noise,
    relative_stds,
)

LAYOUT = LayerLayout.of([("a", (40, 50)), ("b", (7,)), ("c", ())])
SIZES = LAYOUT.sizes
PLAN = PrivacyPlan(population=100, cohort=10, rounds=4, noise_multiplier=1.0, delta=1e-5)
BANDS = replace(PLAN, bands=2)
NAME = "hostile"


@contextmanager
def registered(registry: Registry, extension: Callable[..., Any]) -> Iterator[None]:
    registry.add(NAME)(extension)
    try:
        yield
    finally:
        registry.remove(NAME)


def bounds_by(answer: Any, **settings: Any) -> ClipBounds:
    with registered(CLIP_RULES, lambda sizes, exponent: answer):
        return ClipBounds.of(NAME, 1.0, LAYOUT, **settings)


def weights(*values: float) -> list[tuple[int, float]]:
    return list(zip(SIZES, values, strict=True))


# --- Clip rules ----------------------------------------------------------------------------------


@pytest.mark.parametrize("statistics", [0, 2])
@pytest.mark.parametrize(
    "answer",
    [
        weights(1.0, math.nan, 1.0),
        weights(1.0, -1.0, 1.0),
        weights(1.0, 0.0, 1.0),
        weights(0.0, 0.0, 0.0),
        weights(1.0, math.inf, 1.0),
        weights(1.7e308, 1.7e308, 1.7e308),
        weights(5e-324, 5e-324, 5e-324),
        [],
        None,
        [1.0, 2.0, 3.0],
        [("all", 1.0)],
        [(2008, "much")],
    ],
    ids=repr,
)
def test_a_clip_rule_without_positive_finite_bounds_is_refused(answer: Any, statistics: int) -> None:
    with pytest.raises(ValueError, match=r"clip rule 'hostile'|bounds\[\d\]"):
        bounds_by(answer, statistics=statistics)


@pytest.mark.parametrize(
    "sizes", [(2000, 7), (2000, 7, 2), (2009,), (4016,), (-1, 2009), (2000, 7, 1, 1), (10**30,)], ids=repr
)
def test_a_clip_rule_that_does_not_cover_the_model_is_refused(sizes: tuple[int, ...]) -> None:
    """A coordinate too few would leave without a bound, one too many would take the place of a statistic."""
    with pytest.raises(ValueError, match="clip rule 'hostile'"):
        bounds_by([(size, 1.0) for size in sizes], statistics=2)


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("height", [1e-150, 1e-9, 1.0, 40.0, 1e150])
def test_a_clip_rule_cannot_give_bounds_above_c(height: float, adaptive: bool) -> None:
    bounds = bounds_by(weights(height, 2 * height, 3 * height), statistics=2, adaptive=adaptive)
    assert bounds.total == pytest.approx(1.0, rel=1e-12)
    assert all(bound < 1.0 for bound in bounds.bounds)


def test_a_clip_rule_whose_weights_lose_their_digits_is_refused() -> None:
    """Subnormal weights are so coarse that scaled to a tiny C they come to more than C."""
    coarse = weights(5e-324, 5e-324, 5e-324)
    with (
        registered(CLIP_RULES, lambda sizes, exponent: coarse),
        pytest.raises(ValueError, match="cannot scale to C=1e-20"),
    ):
        ClipBounds.of(NAME, 1e-20, LAYOUT)


class Fickle:
    """An answer, and an object, that is another one each time it is read."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, sizes: tuple[int, ...], exponent: float) -> "Fickle":
        return self

    def __iter__(self) -> Iterator[tuple[int, float]]:
        self.calls += 1
        return iter(weights(*((1.0, 1.0, 1.0) if self.calls == 1 else (9.0, math.nan, -1.0))))


def test_a_clip_rule_with_another_answer_the_second_time_is_asked_once() -> None:
    fickle = Fickle()
    with registered(CLIP_RULES, fickle):
        bounds = ClipBounds.of(NAME, 1.0, LAYOUT)
    assert bounds == ClipBounds.of("uniform", 1.0, LAYOUT)
    assert fickle.calls == 1


def test_a_list_that_a_clip_rule_changes_later_changes_no_bound() -> None:
    kept = weights(1.0, 1.0, 1.0)
    bounds = bounds_by(kept)
    before = bounds.total
    kept[0] = (SIZES[0], 1e9)
    assert (bounds.total, math.hypot(*bounds.bounds)) == (before, before)


@given(
    heights=st.lists(st.floats(1e-12, 1e12), min_size=3, max_size=3),
    action=st.sampled_from(["clip", "normalise"]),
    scale=st.floats(1e-6, 1e9),
    seed=st.integers(0, 2**32 - 1),
)
def test_after_any_clip_rule_the_norm_on_the_integers_is_within_c(
    heights: list[float], action: str, scale: float, seed: int
) -> None:
    """The core counts: whatever bounds a rule gives, an update adds at most 2**bits steps."""
    bounds = bounds_by(weights(*heights), action=action)
    try:
        quantiser = Quantiser.of(bounds)
    except ValueError as error:
        assert "rounding margin" in str(error)  # too uneven for whole steps: refused before the first round
        return
    update = torch.from_numpy(np.random.default_rng(seed).normal(scale=scale, size=LAYOUT.size))
    added = torch.zeros(bounds.size, dtype=torch.int64)
    add_clipped_(added, update, bounds, quantiser)
    assert sum(step * step for step in added.tolist()) <= 4**quantiser.bits


# --- Noise shapes --------------------------------------------------------------------------------

BOUNDS = ClipBounds.of("uniform", 1.0, LAYOUT)
TOGETHER = ClipBounds.of("uniform", 1.0, LAYOUT, action="normalise")
TOO_LITTLE = {
    "a little too little": (0.999, 0.999, 0.999),
    "too little in one slice": (1.0, 1.0, 0.9),
    "nothing in one slice": (5.0, 5.0, 0.0),
    "nothing anywhere": (0.0, 0.0, 0.0),
    "a negative sign": (-1.0, -1.0, -1.0),
    "one negative sign": (1.0, -1.0, 1.0),
    "not a number": (1.0, math.nan, 1.0),
    "not a number first": (math.nan, 1.0, 1.0),
    "infinity beside too little": (math.inf, 1e-3, 1.0),
    "a slice too few": (1.0, 1.0),
    "a slice too many": (1.0, 1.0, 1.0, 1.0),
    "none": (),
    "no numbers": ("much", "much", "much"),
    "no answer": None,
}


@pytest.mark.parametrize("bounds", [BOUNDS, TOGETHER], ids=["clip", "normalise"])
@pytest.mark.parametrize("answer", TOO_LITTLE.values(), ids=TOO_LITTLE)
def test_a_noise_shape_with_too_little_noise_is_refused(answer: Any, bounds: ClipBounds) -> None:
    with registered(NOISE_SHAPES, lambda _: answer), pytest.raises(ValueError):
        relative_stds(NAME, bounds)


def noise_of(noise: Any, sums: torch.Tensor, source: Any) -> list[Any]:
    quantiser = Quantiser.of(BOUNDS)
    return [block.copy() for *_, block in noise.noised_blocks(sums, BOUNDS, quantiser, 1.0, source)]


@pytest.mark.parametrize("make", [IndependentNoise, lambda shape: BandedNoise(2, shape)])
def test_a_noise_shape_that_gets_weaker_later_is_refused_then(make: Callable[[str], Any]) -> None:
    """It is checked in every round, and before the first block of the round leaves."""
    answers = [(1.0, 1.0, 1.0)]
    noise, sums = make(NAME), torch.zeros(BOUNDS.size, dtype=torch.int64)
    with registered(NOISE_SHAPES, lambda _: answers[-1]):
        assert noise_of(noise, sums, SecureGaussian())
        answers.append((1e-3, 1e-3, 1e-3))
        blocks = noise.noised_blocks(sums, BOUNDS, Quantiser.of(BOUNDS), 1.0, SecureGaussian())
        with pytest.raises(ValueError, match=r"gives 0\.001 times the noise multiplier"):
            next(blocks)


class Watched:
    """A source that adds nothing and remembers the standard deviations."""

    def __init__(self) -> None:
        self.stds: list[float] = []

    def add_rounded_(self, sums: Any, std_steps: float) -> None:
        self.stds.append(std_steps)

    def add_and_round_(self, centres: Any, std_steps: float) -> None:
        self.stds.append(std_steps)


@pytest.mark.parametrize("make", [IndependentNoise, lambda shape: BandedNoise(2, shape)])
def test_a_noise_shape_is_asked_once_a_round(make: Callable[[str], Any]) -> None:
    """Correlated noise must keep its shape: what is checked against earlier rounds is what is used."""
    answers = iter([(1.0, 1.0, 1.0), (2.0, 2.0, 2.0), (4.0, 4.0, 4.0)])
    source, sums = Watched(), torch.zeros(BOUNDS.size, dtype=torch.int64)
    with registered(NOISE_SHAPES, lambda _: next(answers)):
        noise_of(make(NAME), sums, source)
        assert next(answers) == (2.0, 2.0, 2.0)
    assert len(set(source.stds)) == 1


def test_correlated_noise_refuses_a_shape_that_changes() -> None:
    answers = iter([(1.0, 1.0, 1.0), (2.0, 2.0, 2.0)])
    noise, sums = BandedNoise(2, NAME), torch.zeros(BOUNDS.size, dtype=torch.int64)
    with registered(NOISE_SHAPES, lambda _: next(answers)):
        noise_of(noise, sums, SecureGaussian())
        with pytest.raises(ValueError, match="same noise multiplier"):
            noise_of(noise, sums, SecureGaussian())


@given(st.lists(st.floats(1e-3, 1e3), min_size=3, max_size=3), st.sampled_from([BOUNDS, TOGETHER]))
def test_a_noise_shape_that_is_let_through_has_enough(stds: list[float], bounds: ClipBounds) -> None:
    """The joint rule, written out over the slices (a group counts with its least noise)."""
    with registered(NOISE_SHAPES, lambda _: tuple(stds)):
        try:
            relative = relative_stds(NAME, bounds)
        except ValueError:
            assert joint_multiplier(bounds, tuple(stds)) < 1
            return
    least = [min(relative[index] for index in group) for group in bounds.groups]
    cost = math.fsum(
        (bounds.group_bound(group) / bounds.total / std) ** 2
        for group, std in zip(bounds.groups, least, strict=True)
    )
    assert cost <= 1 + 1e-8


# --- Mechanisms ----------------------------------------------------------------------------------


class Undeclared:
    """Noise that declares nothing: an extension written before there was anything to declare."""

    def noised_blocks(self, *_: Any) -> Iterator[Any]:
        raise AssertionError("noise was drawn")


class Declares(Undeclared):
    def __init__(self, declared: Any) -> None:
        self.declared = declared

    def accounting(self, plan: PrivacyPlan) -> Any:
        return self.declared


@dataclass(frozen=True, kw_only=True)
class Looser(Release):
    """A release with a field of its own, which no ledger could read back."""

    discount: float = 1.0


UNACCOUNTED = {
    "no method": Undeclared(),
    "None": Declares(None),
    "a word": Declares("Gaussian"),
    "another multiplier": Declares(replace(PLAN.release, noise_multiplier=2.0)),
    "another rate": Declares(replace(PLAN.release, sampling_rate=0.0)),
    "another count": Declares(replace(PLAN.release, count=0)),
    "a release of its own kind": Declares(Looser(sampling_rate=0.1, noise_multiplier=1.0)),
    "more bands than the plan": BandedNoise(2),
    "nothing at all": None,
}


@pytest.mark.parametrize("noise", UNACCOUNTED.values(), ids=UNACCOUNTED)
def test_noise_without_the_plans_accounting_has_no_charge(noise: Any) -> None:
    with pytest.raises(UnaccountedMechanism, match="as its accounting event"):
        charge_of(PLAN, noise, 0)


@pytest.mark.parametrize("step", range(4))
def test_it_has_none_in_the_middle_of_a_cycle_either(step: int) -> None:
    """Rounds that were charged for with the first of their cycle are checked too."""
    with pytest.raises(UnaccountedMechanism):
        charge_of(BANDS, Undeclared(), step)  # type: ignore[arg-type]
    with pytest.raises(UnaccountedMechanism):
        charge_of(BANDS, BandedNoise(4), step)


@pytest.mark.parametrize(
    "plan",
    [
        PLAN,
        BANDS,
        replace(PLAN, noise_multiplier=0.0),
        replace(BANDS, noise_multiplier=0.0),
        replace(PLAN, cohort_cap=20),
        replace(PLAN, noise_source="seeded-not-private"),
    ],
    ids=["independent", "banded", "no noise", "no banded noise", "capped", "seeded"],
)
def test_the_plans_own_noise_is_charged_as_planned(plan: PrivacyPlan) -> None:
    noise = make_noise(plan)
    assert [charge_of(plan, noise, step) for step in range(4)] == [plan.charge(step) for step in range(4)]


@pytest.mark.parametrize(
    "event",
    [None, "Gaussian", PLAN, Looser(sampling_rate=0.1, noise_multiplier=1.0)],
    ids=["None", "word", "plan", "own"],
)
def test_the_ledger_refuses_what_is_no_accounting_event(tmp_path: Path, event: Any) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger.open(path) as ledger:
        with pytest.raises(UnaccountedMechanism, match="takes a Release"):
            ledger.spend(event, run="r", dataset="d", round=1)
        assert (ledger.entries, path.read_bytes()) == ((), b"")
        assert ledger.spend(PLAN.release, run="r", dataset="d", round=1).sequence == 0
