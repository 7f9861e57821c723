"""The joint rule holds for every shape, and the optimum is one."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from base.registries import NOISE_SHAPES
from privacy import (
    ClipBounds,
    IndependentNoise,
    LayerLayout,
    Quantiser,
    SecureGaussian,
    joint_multiplier,
    relative_stds,
)

FALSE_ALARM = 1e-7  # of each statistical comparison below
LAYOUT = LayerLayout.of([("a", (40, 50)), ("b", (7,)), ("c", ()), ("d", (300,))])
SIZES = st.lists(st.integers(1, 10_000), min_size=1, max_size=8)


def bounds_of(sizes: list[int], rule: str = "uniform", statistics: int = 2) -> ClipBounds:
    layout = LayerLayout.of((f"layer{index}", (size,)) for index, size in enumerate(sizes))
    return ClipBounds.of(rule, 0.3, layout, statistics=statistics)


def variance(bounds: ClipBounds, relative: tuple[float, ...]) -> float:
    """The model's total variance in units of (z C)^2."""
    sizes = np.diff(bounds.offsets[: bounds.model_slices + 1])
    return float(sizes @ np.square(relative[: bounds.model_slices]))


@pytest.mark.parametrize("shape", NOISE_SHAPES)
@given(sizes=SIZES, rule=st.sampled_from(["global", "uniform", "dim", "power"]), statistics=st.integers(0, 3))
def test_relative_stds_guarantee_of_the_joint_rule(
    shape: str, sizes: list[int], rule: str, statistics: int
) -> None:
    """1 / z^2 = sum (C_h / sigma_h)^2, written out, with sigma_h = z C r_h."""
    bounds = bounds_of(sizes, rule, statistics)
    z = 0.8
    sigmas = [z * bounds.total * one for one in relative_stds(shape, bounds)]
    joint = math.fsum((bound / sigma) ** 2 for bound, sigma in zip(bounds.bounds, sigmas, strict=True))
    assert joint == pytest.approx(1 / z**2, rel=1e-9)


@given(sizes=SIZES, seed=st.integers(0, 2**32 - 1))
def test_no_other_layout_of_the_noise_has_less_variance(sizes: list[int], seed: int) -> None:
    bounds = bounds_of(sizes, statistics=0)
    best = variance(bounds, relative_stds("variance-optimal", bounds))
    for budget in np.random.default_rng(seed).dirichlet(np.ones(len(sizes)), size=20) + 1e-9:
        other = tuple(
            bound / bounds.total / math.sqrt(part)
            for bound, part in zip(bounds.bounds, budget / budget.sum(), strict=True)
        )
        assert joint_multiplier(bounds, other) == pytest.approx(1)
        assert best <= variance(bounds, other) * (1 + 1e-9)


def test_dim_is_optimal_already_and_uniform_is_not() -> None:
    sizes = [3072 * 768, 768 * 768, 3072, 768, 768]
    assert relative_stds("variance-optimal", bounds_of(sizes, "dim")) == pytest.approx([1.0] * 6)
    uniform = bounds_of(sizes, "uniform", statistics=0)
    gain = variance(uniform, relative_stds("variance-optimal", uniform)) / sum(sizes)
    roots = np.sqrt(sizes)
    assert gain == pytest.approx(roots.sum() ** 2 / len(sizes) / sum(sizes))
    assert gain < 0.5


def test_statistics_keep_their_noise() -> None:
    assert relative_stds("variance-optimal", bounds_of([900, 4, 1]))[-1] == 1.0


def test_slices_that_share_a_bound_may_not_differ_in_noise() -> None:
    """'normalise' lets an update put its whole bound into the layer with the least noise."""
    bounds = ClipBounds.of("uniform", 1.0, LAYOUT, action="normalise", statistics=2)
    assert relative_stds("isotropic", bounds) == (1.0,) * 5
    with pytest.raises(ValueError, match="clip action 'normalise'"):
        relative_stds("variance-optimal", bounds)


def test_an_unknown_shape_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="isotropic"):
        relative_stds("flat", bounds_of([1]))


@pytest.mark.parametrize("shape", NOISE_SHAPES)
def test_released_noise_has_the_planned_std_in_every_slice(shape: str) -> None:
    bounds = ClipBounds.of("uniform", 1.0, LAYOUT, statistics=2)
    quantiser, z, rounds = Quantiser.of(bounds), 0.9, 200
    noise, source = IndependentNoise(shape), SecureGaussian()
    sums = torch.zeros(bounds.size, dtype=torch.int64)
    draws = np.stack(
        [
            np.concatenate(
                [block.copy() for *_, block in noise.noised_blocks(sums, bounds, quantiser, z, source)]
            )
            for _ in range(rounds)
        ]
    )
    assert not sums.any()
    for index, relative in enumerate(relative_stds(shape, bounds)):
        sigma_steps = z * bounds.total * relative / quantiser.step
        scaled = draws[:, bounds.offsets[index] : bounds.offsets[index + 1]] / sigma_steps
        low, high = stats.chi2.interval(1 - FALSE_ALARM, scaled.size)
        assert low < float((scaled**2).sum()) < high
