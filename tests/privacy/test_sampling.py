"""The cohort is Poisson: independent coins of the right weight, from randomness nobody can replay."""

import math

import numpy as np
import pytest

import privacy.sampling as sampling
from privacy.sampling import poisson_sample

SIGMAS = 6.5  # of a binomial count: a false alarm in about 1e10 runs for each comparison


def test_everyone_and_no_one() -> None:
    assert poisson_sample(5, 1.0).tolist() == [0, 1, 2, 3, 4]
    assert poisson_sample(5, 0.0).tolist() == []
    assert poisson_sample(0, 0.5).tolist() == []
    assert all(poisson_sample(5, rate).dtype == np.int64 for rate in (0.0, 0.5, 1.0))


@pytest.mark.parametrize(("population", "rate"), [(3_000_000, 0.01), (1_000, 0.5), (2_097_152, 0.9)])
def test_poisson_sample_guarantee_of_the_rate(population: int, rate: float) -> None:
    """The count of the drawn is binomial, in each half of the population too; indices ascend."""
    drawn = poisson_sample(population, rate)
    assert np.all(np.diff(drawn) > 0)
    assert drawn[0] >= 0 and drawn[-1] < population
    half = population // 2
    for count, size in (
        (drawn.size, population),
        (int((drawn < half).sum()), half),
        (int((drawn >= half).sum()), population - half),
    ):
        assert abs(count - size * rate) < SIGMAS * math.sqrt(size * rate * (1 - rate))


def test_poisson_sample_guarantee_of_independence() -> None:
    """Over many draws every member, and every pair of neighbours, is drawn as often as coins would."""
    population, rate, draws = 20, 0.3, 20_000
    seen = np.zeros((draws, population), dtype=bool)
    for draw in range(draws):
        seen[draw, poisson_sample(population, rate)] = True
    both = seen & np.roll(seen, 1, axis=1)
    for events, chance in ((seen, rate), (both, rate * rate)):
        spread = math.sqrt(draws * chance * (1 - chance))
        assert np.abs(events.sum(axis=0) - draws * chance).max() < SIGMAS * spread


def test_the_rate_is_rounded_down_never_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for rate in (0.3, 2.0**-60, 1 - 2.0**-53, 1e-25):
        threshold = int(rate * 2**64)
        words = np.array([threshold, max(threshold - 1, 0), 2**64 - 1, 0], dtype=np.uint64)
        monkeypatch.setattr(sampling, "_random_words", lambda count, words=words: words[:count])
        assert threshold / 2**64 <= rate
        assert poisson_sample(4, rate).tolist() == ([1, 3] if threshold else [])


def test_no_seed_repeats_a_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    cohorts = []
    for _ in range(2):
        np.random.seed(0)  # noqa: NPY002 - what an application may do must not matter
        cohorts.append(poisson_sample(10_000, 0.5))
    assert not np.array_equal(*cohorts)


@pytest.mark.parametrize(("population", "rate"), [(-1, 0.5), (2.0, 0.5), (5, 1.1), (5, -0.1), (5, math.nan)])
def test_bad_values_are_refused(population: int, rate: float) -> None:
    with pytest.raises(ValueError, match=r"population|rate"):
        poisson_sample(population, rate)
