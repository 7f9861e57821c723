"""Streaming noise is C^-1 z, the release is post-processing of C x + z, and nobody takes part too often."""

import copy
import math

import numpy as np
import pytest
import torch
from scipy import stats

from privacy import BandedNoise, ClipBounds, LayerLayout, PrivacyPlan, Quantiser, SecureGaussian, draw_cohort
from privacy.noise.banded_matrix import band_ratios, inverse_column, square_root_bands
from privacy.noise.secure import CENTRE_BITS

FALSE_ALARM = 1e-7  # of each statistical comparison below
LAYOUT = LayerLayout.of([("a", (60, 50)), ("b", (500,))])
BOUNDS = ClipBounds.of("uniform", 1.0, LAYOUT)
QUANTISER = Quantiser.of(BOUNDS)
ONE = 2**CENTRE_BITS


class Recording:
    """A source that remembers the noise behind every centre, for rounds of one run of blocks.

    Its noise is in whole multiples of 2**-20 of a step, so that all can be recomputed exactly.
    """

    def __init__(self) -> None:
        self.generator = np.random.default_rng(5)
        self.drawn: list[np.ndarray] = []

    def add_rounded_(self, sums, std_steps):
        raise AssertionError("correlated noise may not be rounded before the past is taken off")

    def add_and_round_(self, centres, std_steps):
        assert centres.dtype == np.int64
        noise = np.rint(self.generator.normal(scale=std_steps * ONE, size=centres.size)).astype(np.int64)
        self.drawn.append(noise)
        centres[:] = rounded(centres + noise)


def rounded(fixed):
    """Whole steps of a number in units of 2**-20 of a step."""
    return (fixed + ONE // 2) >> CENTRE_BITS


def release(noise, sums, source, z=0.9, bounds=BOUNDS):
    return np.concatenate(
        [block.copy() for *_, block in noise.noised_blocks(sums, bounds, QUANTISER, z, source)]
    )


@pytest.mark.parametrize("bands", [1, 2, 3, 8])
@pytest.mark.parametrize("z", [0.9, 20.0])
def test_the_release_is_the_claimed_function_of_the_gaussian_mechanism(bands: int, z: float) -> None:
    """r_t = round((C x + z)_t / c_0 - sum p_k r_(t-k)), from C x + z alone, and to the last bit."""
    rounds, source, noise = 12, Recording(), BandedNoise(bands)
    generator = torch.Generator().manual_seed(1)
    sums = [
        torch.randint(-(2**20), 2**20, (BOUNDS.size,), generator=generator, dtype=torch.int32)
        for _ in range(rounds)
    ]
    released = [release(noise, one, source, z) for one in sums]
    ratios = band_ratios(bands)
    for t in range(rounds):
        reach = range(min(bands, t + 1))
        mechanism = sum(ratios[k] * sums[t - k].to(torch.int64).numpy() for k in reach) + source.drawn[t]
        centre = mechanism - sum(ratios[k] * released[t - k] for k in reach if k)
        np.testing.assert_array_equal(released[t], rounded(centre))


def test_the_noise_is_the_inverse_matrix_times_fresh_noise() -> None:
    """Up to the rounding that is fed back: half a step a round, of noise of a million steps."""
    bands, rounds, source, noise = 4, 30, Recording(), BandedNoise(4)
    empty = torch.zeros(BOUNDS.size, dtype=torch.int32)
    released = np.stack([release(noise, empty, source) for _ in range(rounds)])
    inverse = inverse_column(bands, rounds)
    fresh = np.stack(source.drawn) / ONE * square_root_bands(bands)[0]
    expected = np.stack([inverse[t::-1] @ fresh[: t + 1] for t in range(rounds)])
    assert np.abs(released - expected).max() < rounds


def test_bands_cancel_in_the_sum_and_grow_in_the_step() -> None:
    """Chi-square of the last step and of the total, against the matrix."""
    bands, rounds, z, noise, source = 8, 20, 0.9, BandedNoise(8), SecureGaussian()
    empty = torch.zeros(BOUNDS.size, dtype=torch.int32)
    released = np.stack([release(noise, empty, source, z) for _ in range(rounds)]) / (z * 2**20)
    inverse = inverse_column(bands, rounds)
    for found, variance in (
        (released[-1], float((inverse**2).sum())),
        (released.sum(0), float((np.cumsum(inverse) ** 2).sum())),
    ):
        low, high = stats.chi2.interval(1 - FALSE_ALARM, found.size)
        assert low < float(found @ found) / variance < high


@pytest.mark.parametrize("shape", ["isotropic", "variance-optimal"])
def test_at_most_one_buffer_less_than_bands_is_kept_in_32_bits(shape: str) -> None:
    noise, source = BandedNoise(3, shape), SecureGaussian()
    places = set()
    for _ in range(7):
        release(noise, torch.zeros(BOUNDS.size, dtype=torch.int32), source)
        places |= {past.data_ptr() for past in noise._past}
        assert {past.dtype for past in noise._past} == {torch.int32}
    assert len(places) == 2


def test_very_strong_noise_is_kept_in_64_bits() -> None:
    noise = BandedNoise(2)
    release(noise, torch.zeros(BOUNDS.size, dtype=torch.int64), SecureGaussian(), z=1e4)
    assert noise._past[0].dtype == torch.int64


def test_noise_whose_sums_could_overflow_is_refused_before_any_is_drawn() -> None:
    noise, source = BandedNoise(2), Recording()
    with pytest.raises(ValueError, match="too large for exact sums"):
        release(noise, torch.zeros(BOUNDS.size, dtype=torch.int64), source, z=2.0**17)
    assert not source.drawn


def test_noise_beyond_its_largest_size_ends_the_run_and_is_not_cut_to_32_bits() -> None:
    class Huge(Recording):
        def add_and_round_(self, centres, std_steps):
            centres[:] = 2**32

    with pytest.raises(RuntimeError, match="standard deviations"):
        release(BandedNoise(2), torch.zeros(BOUNDS.size, dtype=torch.int32), Huge())


def test_terms_may_not_change_between_rounds() -> None:
    noise, source = BandedNoise(2, "variance-optimal"), SecureGaussian()
    sums = torch.zeros(BOUNDS.size, dtype=torch.int32)
    release(noise, sums, source)
    with pytest.raises(ValueError, match="same noise multiplier"):
        release(noise, sums, source, z=0.5)
    with pytest.raises(ValueError, match="noise shape"):
        release(noise, sums, source, bounds=BOUNDS.with_model_bounds([1.0, 0.5]))
    with pytest.raises(ValueError, match="noise_multiplier"):
        release(noise, sums, source, z=0.0)


def test_bounds_may_adapt_under_equal_noise() -> None:
    noise, source = BandedNoise(2), SecureGaussian()
    sums = torch.zeros(BOUNDS.size, dtype=torch.int32)
    release(noise, sums, source)
    release(noise, sums, source, bounds=BOUNDS.with_model_bounds([1.0, 0.5]))


def test_a_round_left_unfinished_ends_it() -> None:
    noise = BandedNoise(2)
    sums = torch.zeros(BOUNDS.size, dtype=torch.int32)
    next(noise.noised_blocks(sums, BOUNDS, QUANTISER, 1.0, SecureGaussian()))
    with pytest.raises(RuntimeError, match="incomplete"):
        release(noise, sums, SecureGaussian())


def test_past_noise_cannot_be_copied() -> None:
    with pytest.raises(TypeError, match="secret"):
        copy.deepcopy(BandedNoise(2))


@pytest.mark.parametrize(("population", "bands"), [(103, 4), (10, 1), (3, 3)])
def test_draw_cohort_guarantee(population: int, bands: int) -> None:
    """Over a cycle every speaker can be drawn in exactly one round, at b times the rate."""
    plan = PrivacyPlan(
        population=population,
        cohort=population / bands,
        rounds=8,
        noise_multiplier=1.0,
        delta=1e-5,
        bands=bands,
    )
    cycle = [draw_cohort(plan, step) for step in range(2 * bands)]
    assert sorted(np.concatenate(cycle[:bands]).tolist()) == list(range(population))
    for step in range(bands):
        np.testing.assert_array_equal(cycle[step], cycle[step + bands])


def test_groups_are_drawn_at_the_plans_rate() -> None:
    plan = PrivacyPlan(population=4000, cohort=100.0, rounds=400, noise_multiplier=1.0, delta=1e-5, bands=4)
    drawn = sum(len(draw_cohort(plan, step)) for step in range(400))
    assert abs(drawn - 40_000) < stats.norm.isf(FALSE_ALARM / 2) * math.sqrt(40_000 * 0.9)
