"""The matrix is the square root of the prefix sum cut to its bands; the published trade-off comes out."""

from fractions import Fraction

import numpy as np
import pytest
from scipy.linalg import toeplitz

from privacy.noise.banded_matrix import (
    RATIO_BITS,
    band_ratios,
    compare_bands,
    inverse_column,
    prefix_gain,
    square_root_bands,
    step_gain,
)

GOLDEN = [
    (
        7.2,
        0.00295,
        [0.588, 0.705, 0.792, 0.918, 1.100],
        [1, 0.670, 0.565, 0.492, 0.446],
        [0.588, 0.993, 1.19, 1.45, 1.83],
    ),
    (
        4.5,
        0.0295,
        [1.95, 3.69, 5.15, 7.20, 10.0],
        [1, 1.06, 1.11, 1.17, 1.22],
        [1.95, 5.20, 7.72, 11.4, 16.7],
    ),
]


def matrix(bands: int, rounds: int) -> np.ndarray:
    column = np.zeros(rounds)
    column[:bands] = square_root_bands(bands)[:rounds]
    return np.tril(toeplitz(column))


@pytest.mark.parametrize(("epsilon", "rate", "noise", "rmse", "std"), GOLDEN)
def test_the_table_of_the_trade_off(
    epsilon: float, rate: float, noise: list[float], rmse: list[float], std: list[float]
) -> None:
    """Golden: T = 2006, delta = 1e-9, calibrated by PLD, computed with another program."""
    choices = compare_bands(
        target_epsilon=epsilon, delta=1e-9, sampling_rate=rate, rounds=2006, bands=(1, 4, 8, 16, 32)
    )
    assert [choice.noise_multiplier for choice in choices] == pytest.approx(noise, rel=3e-3)
    ratios = [choice.prefix_rmse / choices[0].prefix_rmse for choice in choices]
    assert ratios == pytest.approx(rmse, rel=6e-3)
    assert [choice.step_std for choice in choices] == pytest.approx(std, rel=4e-3)


def test_all_bands_are_the_square_root_of_the_prefix_sum() -> None:
    rounds = 50
    square = matrix(rounds, rounds) @ matrix(rounds, rounds)
    # each of the 50 coefficients is rounded to a multiple of 2**-20
    np.testing.assert_allclose(square / square[0, 0], np.tril(np.ones((rounds, rounds))), atol=50 * 2.0**-20)


@pytest.mark.parametrize("bands", [1, 2, 5, 40, 60])
def test_square_root_bands_guarantee(bands: int) -> None:
    norms = np.linalg.norm(matrix(bands, 40), axis=0)
    assert norms.max() <= 1
    assert norms[0] == pytest.approx(1, abs=0.2) if bands > 40 else norms[0] == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("bands", [1, 2, 3, 8, 33, 400])
@pytest.mark.parametrize("std", [1.0, 0.03 * 2**20, 1.7e6])
def test_the_noise_is_never_less_than_a_column_of_the_rounded_ratios_asks_for(bands: int, std: float) -> None:
    """In exact arithmetic: (std / c_0)^2 >= std^2 sum of p_k^2, so that C's columns have norm at most 1."""
    ratios = [Fraction(ratio, 2**RATIO_BITS) for ratio in band_ratios(bands)]
    fresh = Fraction(std / float(square_root_bands(bands)[0]))
    needed = Fraction(std) ** 2 * sum(ratio**2 for ratio in ratios)
    assert needed <= fresh**2 <= needed * (1 + Fraction(1, 10**11))


@pytest.mark.parametrize("bands", [1, 3, 7])
def test_gains_are_those_of_the_dense_inverse(bands: int) -> None:
    rounds = 30
    inverse = np.linalg.inv(matrix(bands, rounds))
    np.testing.assert_allclose(inverse[:, 0], inverse_column(bands, rounds), atol=1e-12)
    assert step_gain(bands, rounds) == pytest.approx(np.sqrt((inverse**2).sum(1).mean()))
    prefix = np.tril(np.ones((rounds, rounds))) @ inverse
    assert prefix_gain(bands, rounds) == pytest.approx(np.sqrt((prefix**2).sum(1).mean()))


def test_bands_that_cannot_be_sampled_are_left_out() -> None:
    choices = compare_bands(target_epsilon=8, delta=1e-5, sampling_rate=0.3, rounds=12, bands=(1, 3, 4))
    assert [choice.bands for choice in choices] == [1, 3]
