"""The stream is normal in body, tail and pairs, and no key or word is ever used twice."""

import copy
import math
import pickle

import numpy as np
import pytest
from scipy import stats

from privacy.normal_stream import CHUNK, NormalStream

FALSE_ALARM = 1e-7  # of each statistical comparison below
COUNT = 1_000_000


@pytest.fixture(scope="module")
def sample() -> np.ndarray:
    values = np.empty(COUNT)
    NormalStream().normal(values)
    return values


def test_distribution(sample: np.ndarray) -> None:
    assert stats.kstest(sample, "norm").pvalue > FALSE_ALARM


@pytest.mark.parametrize("beyond", [3.0, 4.0, 4.5])
def test_tails(sample: np.ndarray, beyond: float) -> None:
    for tail in (sample > beyond, sample < -beyond):
        expected = stats.binom(COUNT, stats.norm.sf(beyond))
        assert expected.ppf(FALSE_ALARM) <= tail.sum() <= expected.isf(FALSE_ALARM)


def test_the_two_of_a_pair_are_independent(sample: np.ndarray) -> None:
    """Cosine and sine of one angle share a radius: neither they nor their squares may be correlated."""
    blocks = sample[: COUNT // CHUNK * CHUNK].reshape(-1, 2, CHUNK // 2)
    first, second = blocks[:, 0].ravel(), blocks[:, 1].ravel()
    for one, other in ((first, second), (first**2, second**2), (first[:-1], first[1:])):
        correlation = np.corrcoef(one, other)[0, 1]
        assert abs(correlation) * math.sqrt(one.size) < stats.norm.isf(FALSE_ALARM / 2)


@pytest.mark.parametrize("size", [0, 1, 2, 3, CHUNK - 1, CHUNK, CHUNK + 1])
def test_every_value_of_an_array_is_drawn(size: int) -> None:
    values = np.full(size, np.nan)
    NormalStream().normal(values)
    assert np.isfinite(values).all() and np.unique(values).size == size


@pytest.mark.parametrize("byte", [0x00, 0xFF])
def test_the_extreme_words_give_finite_values(byte: int) -> None:
    class Constant:
        def update_into(self, data: bytes, buffer: bytearray) -> None:
            buffer[: len(data)] = bytes([byte]) * len(data)

    stream, values = NormalStream(), np.empty(8)
    stream._cipher = Constant()  # type: ignore[assignment]
    stream.normal(values)
    assert np.isfinite(values).all()
    assert np.abs(values).max() < 9.5


def test_streams_and_calls_differ_and_the_key_cannot_leave() -> None:
    one, other = NormalStream(), NormalStream()
    draws = np.empty((3, 1000))
    for stream, values in zip((one, one, other), draws, strict=True):
        stream.normal(values)
    assert np.unique(draws).size == draws.size
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(one)
