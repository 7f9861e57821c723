"""The noise has the planned spread everywhere, is rounded, and cannot be repeated."""

import copy
import math
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from privacy.noise.normal_stream import CHUNK
from privacy.noise.secure import CENTRE_BITS, SecureGaussian

FALSE_ALARM = 1e-7  # of each statistical comparison below


def test_add_rounded_guarantee_of_the_spread() -> None:
    """Chi-square in every slice, also across chunks; the mean is zero."""
    std = 1.3 * 2**20
    sums = np.zeros(300_000, dtype=np.int64)
    SecureGaussian().add_rounded_(sums, std)
    for begin, end in pairwise((0, 5_000, CHUNK, 150_000, 150_500, 299_000, 300_000)):
        scaled = sums[begin:end] / std
        low, high = stats.chi2.interval(1 - FALSE_ALARM, end - begin)
        assert low < float(scaled @ scaled) < high
        assert abs(scaled.mean()) * math.sqrt(end - begin) < stats.norm.isf(FALSE_ALARM / 2)


@pytest.mark.parametrize("std", [0.4, 1.5, 20.0])
@pytest.mark.parametrize("centre", [0.0, 0.3125])
def test_add_rounded_guarantee_of_rounding(std: float, centre: float) -> None:
    """round(m + Y) of a normal Y: the frequency of each integer against the normal's own distribution."""
    count = 400_000
    if centre:
        sums = np.full(count, int(centre * 2**CENTRE_BITS))
        SecureGaussian().add_and_round_(sums, std)
    else:
        sums = np.zeros(count, dtype=np.int64)
        SecureGaussian().add_rounded_(sums, std)
    reach = math.floor(2.2 * std) + 0.5  # so that the tails' two cells are well filled
    edges = np.concatenate([[-np.inf], np.arange(-reach, reach + 0.5), [np.inf]])
    expected = np.diff(stats.norm.cdf(edges, loc=centre, scale=std)) * count
    found = np.histogram(sums, edges)[0]
    assert stats.chisquare(found, expected).pvalue > FALSE_ALARM


def test_it_is_added_exactly_even_to_very_large_sums() -> None:
    sums = np.full(1000, 2**60 + 1, dtype=np.int64)
    SecureGaussian().add_rounded_(sums, 1e-3)
    assert np.all(sums == 2**60 + 1)
    SecureGaussian().add_rounded_(sums, 2.0)
    assert 0 < np.abs(sums - (2**60 + 1)).max() < 30


@pytest.mark.parametrize("size", [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 1])
def test_every_coordinate_is_noised(size: int) -> None:
    sums = np.zeros(size, dtype=np.int64)
    SecureGaussian().add_rounded_(sums, 1e7)
    assert sums[0] != 0 and sums[-1] != 0  # by chance: 8e-8
    assert np.count_nonzero(sums == 0) <= 5  # by chance: 1e-17


def test_no_two_draws_share_randomness() -> None:
    """Neither two calls, nor two sources, nor two parts of one call: correlations are a chance matter."""
    source, other = SecureGaussian(), SecureGaussian()
    draws = []
    for one in (source, source, other):
        sums = np.zeros(40_000, dtype=np.int64)
        one.add_rounded_(sums, 1e6)
        draws += [sums[:20_000] / 1e6, sums[20_000:] / 1e6]
    correlations = np.corrcoef(draws)[np.triu_indices(len(draws), 1)]
    assert np.abs(correlations).max() * math.sqrt(20_000) < stats.norm.isf(FALSE_ALARM / 2)


def test_threads_that_draw_from_one_source_at_once_share_nothing() -> None:
    """Without a lock one thread's words would be written over while the other turns them into normals."""
    source, sums = SecureGaussian(), np.zeros((2, 100 * CHUNK), dtype=np.int64)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(source.add_rounded_, sums, [1e7] * 2))
    assert np.count_nonzero(sums == 0) <= 9  # 0.26 are expected; by chance: 1e-12
    assert np.count_nonzero(sums[0] == sums[1]) <= 9  # 0.09 are expected


def test_the_key_cannot_leave() -> None:
    source = SecureGaussian()
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="secret key"):
            leak(source)


def test_a_forked_process_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    source = SecureGaussian()
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    with pytest.raises(RuntimeError, match="forked"):
        source.add_rounded_(np.zeros(3, dtype=np.int64), 1.0)


@pytest.mark.parametrize("std", [0.0, -1.0, math.nan, math.inf, 2.0**60])
def test_bad_spread_is_refused_and_nothing_is_added(std: float) -> None:
    sums = np.zeros(3, dtype=np.int64)
    with pytest.raises(ValueError, match="std_steps"):
        SecureGaussian().add_rounded_(sums, std)
    assert not sums.any()


@pytest.mark.parametrize(
    "sums", [np.zeros(3), np.zeros(3, dtype=np.int32), np.zeros((2, 2), np.int64), np.zeros(6, np.int64)[::2]]
)
def test_other_arrays_are_refused(sums: np.ndarray) -> None:
    with pytest.raises(ValueError, match="int64 sums"):
        SecureGaussian().add_rounded_(sums, 1.0)


def test_centres_are_integers_in_units_of_a_steps_2_to_the_minus_20() -> None:
    with pytest.raises(ValueError, match="int64 sums"):
        SecureGaussian().add_and_round_(np.zeros(3), 1.0)  # type: ignore[arg-type]
    centres = np.array([-(2**40), 2**40, 2**19 + 1, -(2**19) - 1])
    SecureGaussian().add_and_round_(centres, 1e-9)
    assert centres.tolist() == [-(2**20), 2**20, 1, -1]


def test_an_empty_sum_is_left_alone() -> None:
    SecureGaussian().add_rounded_(np.zeros(0, dtype=np.int64), 1.0)
