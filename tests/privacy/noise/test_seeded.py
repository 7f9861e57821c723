"""Noise that a seed repeats: the same spread, and no privacy anywhere."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from privacy import PrivacyPlan
from privacy.noise.secure import CENTRE_BITS
from privacy.noise.seeded import SeededGaussian

FALSE_ALARM = 1e-7
PLAN = PrivacyPlan(
    population=100,
    cohort=10.0,
    rounds=9,
    noise_multiplier=1.0,
    delta=1e-6,
    noise_source="seeded-not-private",
)


def noise(seed: int, round_number: int, size: int = 200_000) -> np.ndarray:
    sums = np.zeros(size, dtype=np.int64)
    SeededGaussian(seed, round_number).add_rounded_(sums, 1e6)
    return sums


def test_seed_and_round_decide_the_noise() -> None:
    np.testing.assert_array_equal(noise(3, 1), noise(3, 1))
    for other in (noise(3, 2), noise(4, 1), noise(2, 4)):
        assert abs(np.corrcoef(noise(3, 1), other)[0, 1]) * math.sqrt(other.size) < 5.4


def test_its_spread_is_the_secure_ones() -> None:
    scaled = noise(0, 1) / 1e6
    low, high = stats.chi2.interval(1 - FALSE_ALARM, scaled.size)
    assert low < float(scaled @ scaled) < high


def test_centres_are_noised_and_rounded_alike() -> None:
    centres = np.full(1000, 2 ** (CENTRE_BITS - 2))
    SeededGaussian(1, 1).add_and_round_(centres, 1e6)
    assert np.abs(centres - noise(1, 1, 1000)).max() <= 1


def test_a_plan_with_it_promises_nothing() -> None:
    assert not PLAN.is_private
    assert PLAN.epsilon().value == PLAN.extrapolate(10**6, 1000.0).epsilon().value == math.inf
    described = json.loads(json.dumps(PLAN.describe()))
    assert (described["privacy"], described["claim"]) == ("none", None)
    assert described["noise_source"] == "seeded-not-private"


def test_it_is_still_checked() -> None:
    with pytest.raises(ValueError, match="noise_multiplier"):
        PrivacyPlan(**{**vars(PLAN), "noise_multiplier": math.nan})
    with pytest.raises(ValueError, match="noise_source"):
        PrivacyPlan(**{**vars(PLAN), "noise_source": "seeded"})
