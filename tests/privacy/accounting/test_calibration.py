"""The noise found meets its target and hardly any less would."""

import math

import pytest

from privacy.accounting.calibration import calibrate_noise_multiplier
from privacy.accounting.epsilon import MIN_NOISE_MULTIPLIER, Release, epsilon


def claim(rate: float, noise: float, rounds: int, delta: float) -> float:
    release = Release(sampling_rate=rate, noise_multiplier=noise, count=rounds)
    return epsilon([release], delta).value


@pytest.mark.parametrize(
    ("target", "delta", "rate", "rounds"),
    [
        (7.2, 1e-9, 204_800 / 69_506_000, 2034),
        (8.0, 1e-5, 0.25, 60),
        (0.2, 1e-9, 1e-4, 2000),
        (8000.0, 1e-5, 0.25, 60),
        (1.0, 1e-6, 1.0, 10),
    ],
)
def test_calibrate_noise_multiplier_guarantee(target: float, delta: float, rate: float, rounds: int) -> None:
    noise = calibrate_noise_multiplier(target_epsilon=target, delta=delta, sampling_rate=rate, rounds=rounds)
    assert claim(rate, noise, rounds, delta) <= target
    assert claim(rate, noise * 0.998, rounds, delta) > target


@pytest.mark.parametrize(
    ("target", "delta", "rate", "rounds", "published", "tolerance"),
    [
        (1.0, 1e-5, 0.01, 1, 0.67379294682, 1e-3),  # dp_accounting's own test of PLD
        (1.0, 1e-6, 0.1, 512, 9.66, 1e-3),  # jax_privacy's documentation
        (4.5, 1e-9, 102_400 / 3_475_300, 2006, 1.9464, 1e-3),
    ],
)
def test_published_noise(
    target: float, delta: float, rate: float, rounds: int, published: float, tolerance: float
) -> None:
    noise = calibrate_noise_multiplier(target_epsilon=target, delta=delta, sampling_rate=rate, rounds=rounds)
    assert noise == pytest.approx(published, rel=tolerance)


def test_a_target_that_anything_meets_takes_the_least_noise() -> None:
    noise = calibrate_noise_multiplier(target_epsilon=1.0, delta=1e-5, sampling_rate=0.0, rounds=10)
    assert noise == MIN_NOISE_MULTIPLIER


def test_a_target_that_nothing_meets_is_refused() -> None:
    with pytest.raises(ValueError, match="higher epsilon"):
        calibrate_noise_multiplier(target_epsilon=1e-7, delta=1e-12, sampling_rate=1.0, rounds=10)


@pytest.mark.parametrize(
    "change",
    [
        {"target_epsilon": 0.0},
        {"target_epsilon": math.nan},
        {"delta": 0.0},
        {"sampling_rate": 1.5},
        {"rounds": 0},
    ],
)
def test_bad_values_are_named(change: dict[str, float]) -> None:
    asked = {"target_epsilon": 1.0, "delta": 1e-5, "sampling_rate": 0.1, "rounds": 10, **change}
    with pytest.raises(ValueError, match=next(iter(change))):
        calibrate_noise_multiplier(**asked)  # type: ignore[arg-type]
