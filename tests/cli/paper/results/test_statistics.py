"""Intervals of paired runs against cases that are known."""

import math
from dataclasses import replace

import numpy as np
import pytest

from cli.paper.results.statistics import LEVEL, Table, difference, mean_difference, rate, ratio
from tests.cli.paper.results.made import made


def table(errors, words) -> Table:
    errors = np.array(errors)
    return Table(seeds=tuple(range(len(errors))), errors=errors, words=np.array(words))


def test_runs_that_are_all_alike_have_an_interval_of_no_width():
    same = table([[2, 4, 6]] * 3, [10, 20, 30])
    found = rate(same)
    assert found.value == found.low == found.high == pytest.approx(0.2)
    twice = replace(same, errors=2 * same.errors)
    assert ratio(twice, same) == replace(found, value=2.0, low=2.0, high=2.0)
    assert difference(twice, same).low == pytest.approx(0.2)


def test_the_difference_is_paired():
    """What both sides share, good and bad speakers and seeds, does not widen the interval."""
    rng = np.random.default_rng(1)
    base = rng.integers(5, 40, (5, 20)) + rng.integers(0, 10, (5, 1))
    found = difference(table(base + 5, [50] * 20), table(base, [50] * 20))
    assert found.value == pytest.approx(0.1)
    assert found.low == pytest.approx(0.1) and found.high == pytest.approx(0.1)


def test_the_mean_of_differences_counts_each_pair_once_and_only_the_seeds_of_all():
    base = table([[10, 10], [10, 10], [0, 40]], [50, 50])
    more = replace(base, errors=base.errors + 4)
    fewer = Table(seeds=(0, 1), errors=base.errors[:2] - 2, words=base.words)
    found = mean_difference([(more, base), (fewer, base)])
    assert found.value == found.low == found.high == pytest.approx((0.08 - 0.04) / 2)
    with pytest.raises(ValueError, match="common one"):
        mean_difference([(more, base), (replace(fewer, seeds=(7, 8)), base)])


def test_the_width_is_that_of_the_normal_interval_where_one_is_known():
    """One seed, many speakers with as many words: the standard error of a mean of independent rates."""
    rates = np.random.default_rng(2).integers(0, 50, 400)
    found = rate(table([rates], [100] * 400))
    expected = 2 * 1.96 * rates.std() / 100 / math.sqrt(400)
    assert found.high - found.low == pytest.approx(expected, rel=0.06)


def test_seeds_that_differ_widen_the_interval():
    """Speakers alike, seeds not: the standard error is that of a mean of 50 seeds."""
    by_seed = np.random.default_rng(3).integers(0, 50, (50, 1))
    found = rate(table(np.repeat(by_seed, 4, axis=1), [100] * 4))
    expected = 2 * 1.96 * by_seed.std() / 100 / math.sqrt(50)
    assert found.high - found.low == pytest.approx(expected, rel=0.1)


def test_the_interval_covers_as_often_as_it_says():
    """100 data sets of 20 seeds by 30 speakers, with effects of both.

    If an interval misses in 6 % of all cases, more than 12 of 100 are missed with a probability below 0.02.
    """
    rng, missed = np.random.default_rng(4), 0
    for _ in range(100):
        rates = 0.3 + 0.05 * rng.standard_normal((20, 1)) + 0.08 * rng.standard_normal((1, 30))
        found = rate(table(rng.binomial(60, np.clip(rates, 0, 1)), [60] * 30))
        missed += not found.low <= 0.3 <= found.high
    assert missed <= 12, LEVEL


def test_only_seeds_that_both_have_are_compared():
    low = Table.of([made("a", seed, counts=((seed, 10), (1, 10))) for seed in (1, 2, 3)])
    high = Table.of([made("b", seed, counts=((seed + 1, 10), (1, 10))) for seed in (3, 2, 9)])
    assert difference(high, low).value == pytest.approx(0.05)
    with pytest.raises(ValueError, match="needs a common one"):
        difference(low.only([1]), high)


def test_runs_that_cannot_be_pooled_are_named():
    with pytest.raises(ValueError, match="a/seed-2"):
        Table.of([made("a", 1), made("a", 2, counts=((1, 10),))])
    with pytest.raises(ValueError, match="twice"):
        Table.of([made("a", 1), made("a", 1)])
