"""Correlated noise as a matrix: its cost in noise multiplier, and its gain over many rounds.

Instead of fresh noise z_t, round t adds (C^-1 z)_t. C is a lower-triangular Toeplitz matrix with b bands: the
first b coefficients of the square root of the all-ones (prefix sum) matrix (Choquette-Choo et al. 2023,
arXiv 2306.08153). Later noise then cancels a part of earlier noise in the *sum* of rounds, which a plain
optimiser follows, while the noise of a single round grows.

The release x + C^-1 z is a function of C x + z. A speaker whose participations are at least b rounds apart
touches disjoint rows of C x each time. So each participation is one Gaussian release whose sensitivity is the
norm of a column, and C is scaled so that this norm is 1. Every speaker belongs to one of b fixed groups, and
round t draws from group t mod b with probability b q. Then all T rounds are ceil(T / b) Poisson-sampled
Gaussian releases of rate b q.

More bands cancel more noise, but they sample at a higher rate: they help only where q is small.
`compare_bands` shows the numbers.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from privacy.accounting.calibration import calibrate_noise_multiplier
from privacy.validate import probability, whole

RATIO_BITS = 20
_ROOM = 1 + 1e-12  # more than the rounding error of a column's norm and of a standard deviation over c_0

Vector = np.ndarray[tuple[int], np.dtype[np.float64]]


def band_ratios(bands: int) -> tuple[int, ...]:
    """c_k / c_0 for k = 0 .. b-1, in units of 2**-RATIO_BITS: the definition of C.

    They are the coefficients 1, 1/2, 3/8, .. of the square root, rounded to these units so that sums of past
    noise times these numbers are exact integers (`privacy.noise.banded`).
    """
    coefficients = [1.0]
    for index in range(1, whole(1, bands=bands)):
        coefficients.append(coefficients[-1] * (2 * index - 1) / (2 * index))
    return tuple(round(coefficient * 2**RATIO_BITS) for coefficient in coefficients)


def square_root_bands(bands: int) -> Vector:
    """The first column of C: c_0 times `band_ratios`, shape (bands,).

    Guarantee:
        A column of C has norm at most 1 (the last round cuts some columns short, which makes them
        shorter). This still holds if c_0 is replaced by std / (the rounded std / c_0).
    """
    ratios = [ratio * 2.0**-RATIO_BITS for ratio in band_ratios(bands)]
    column: Vector = np.array(ratios)
    return column / (math.hypot(*ratios) * _ROOM)


def inverse_column(bands: int, rounds: int) -> Vector:
    """The first column of C^-1, shape (rounds,): the weights of noise z_s in rounds s, s + 1, ..."""
    column = square_root_bands(bands)
    inverse = np.zeros(whole(1, rounds=rounds))
    inverse[0] = 1 / column[0]
    for step in range(1, rounds):
        reach = min(bands - 1, step)
        before = inverse[step - reach : step][::-1]
        inverse[step] = -float(column[1 : reach + 1] @ before) / column[0]
    return inverse


def step_gain(bands: int, rounds: int) -> float:
    """The root mean square over rounds of one round's noise, in units of z C."""
    return math.sqrt(float(np.cumsum(inverse_column(bands, rounds) ** 2).mean()))


def prefix_gain(bands: int, rounds: int) -> float:
    """The root mean square over rounds t of the error of the sum of rounds 1 .. t, in units of z C."""
    prefix = np.cumsum(inverse_column(bands, rounds))
    return math.sqrt(float(np.cumsum(prefix**2).mean()))


@dataclass(frozen=True, kw_only=True)
class BandChoice:
    """The effect of a number of bands on a run at a given epsilon.

    Args:
        bands: b.
        noise_multiplier: the least z that meets the target.
        prefix_rmse: root mean square error of the sums of rounds, in units of C.
        step_std: root mean square of one round's noise, in units of C.

    Example:
        >>> one = BandChoice(bands=1, noise_multiplier=0.8, prefix_rmse=5.7, step_std=0.8)
        >>> one.bands, one.noise_multiplier
        (1, 0.8)
    """

    bands: int
    noise_multiplier: float
    prefix_rmse: float
    step_std: float


def compare_bands(
    *, target_epsilon: float, delta: float, sampling_rate: float, rounds: int, bands: Iterable[int]
) -> tuple[BandChoice, ...]:
    """For each number of bands, the least noise that meets the target, and its effect on the run.

    Numbers of bands that would need a sampling probability above 1 within a group are left out.
    """
    probability(sampling_rate=sampling_rate)
    possible = [number for number in bands if whole(1, bands=number) * sampling_rate <= 1]
    return tuple(
        _choice(
            number,
            calibrate_noise_multiplier(
                target_epsilon=target_epsilon,
                delta=delta,
                sampling_rate=number * sampling_rate,
                rounds=math.ceil(rounds / number),
            ),
            rounds,
        )
        for number in possible
    )


def _choice(bands: int, noise: float, rounds: int) -> BandChoice:
    return BandChoice(
        bands=bands,
        noise_multiplier=noise,
        prefix_rmse=noise * prefix_gain(bands, rounds),
        step_std=noise * step_gain(bands, rounds),
    )
