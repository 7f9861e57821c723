"""The stream is normal in body, tail and pairs, and no key or word is ever used twice."""

import copy
import math
import pickle
import sys

import numpy as np
import pytest
from scipy import stats

from privacy.noise.normal_stream import CHUNK, NormalStream
from tests.privacy.exact_reference import reference_pair

FALSE_ALARM = 1e-7  # of each statistical comparison below
COUNT = 1_000_000
STD = 2.0**20


@pytest.fixture(scope="module")
def sample() -> np.ndarray:
    return drawn(COUNT) / STD


def drawn(size: int, stream: NormalStream | None = None) -> np.ndarray:
    values = np.zeros(size, dtype=np.int64)
    (stream or NormalStream()).add_rounded_(values, STD)
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
    values = drawn(size)
    assert values.size == size
    assert np.count_nonzero(values) >= size - 3  # 4e-7 of all are 0; more than three: by chance 1e-10
    if size > 1:
        assert values[-1] != 0 or values[0] != 0


class Keystream:
    """A cipher with this stream of words; it counts the blocks that are asked for."""

    def __init__(self, words: list[int]) -> None:
        self.words, self.blocks = iter(words), 0

    def update(self, data: bytes) -> bytes:
        self.blocks += len(data) // 16
        return b"".join(next(self.words).to_bytes(8, sys.byteorder) for _ in range(len(data) // 8))

    def update_into(self, data: bytes, buffer: bytearray) -> int:
        buffer[: len(data)] = self.update(bytes(data))
        return len(data)


def stream_of(words: list[int]) -> NormalStream:
    stream = NormalStream()
    stream._cipher = Keystream(words)  # type: ignore[assignment]
    return stream


def test_words_of_zeros_reach_beyond_what_64_bits_of_a_radius_can() -> None:
    """The former sampler ended at 9.42 standard deviations, so some releases revealed who took part."""
    values = drawn(2, stream_of([0, 0] * 3 + [2**63, 1] * 10))
    assert values[0] / STD > 16


def test_a_pair_between_two_circles_is_possible() -> None:
    """Of 63 bits there is no radius for U = 5/4 * 2**-63: the next ones are 20,000 steps away."""
    values = drawn(2, stream_of([2, 0, 2**63, 0, 0, 0, 2**63, 1] + [1] * 10))
    assert np.hypot(*values) == pytest.approx(STD * math.sqrt(-2 * math.log(1.25 * 2**-63)), abs=2)


def test_further_words_are_fresh_blocks_and_leave_those_in_use_alone() -> None:
    """Two pairs need one block more each: they get one after the other; the second keeps its words."""
    pairs, digits = [(1, 2), (3, 4)], [(2**60 + 1, 17), (2**62 + 5, 19)]
    words = [1, 3, 2, 4, *digits[0], *digits[1]]
    stream = stream_of(words)
    values = drawn(4, stream).reshape(2, 2)
    for index, (radius, angle) in enumerate(pairs):
        more_radius, more_angle = digits[index]
        # the digits after those would have to be unlikely ones to matter
        expected = reference_pair([radius, more_radius, 0], [angle, more_angle, 0], STD)
        assert tuple(values[:, index]) == expected
    assert stream._cipher.blocks == 4  # type: ignore[attr-defined]


def test_streams_and_calls_differ_and_the_key_cannot_leave() -> None:
    one, other = NormalStream(), NormalStream()
    draws = np.stack([drawn(1000, stream) for stream in (one, one, other)])
    correlations = np.corrcoef(draws)[np.triu_indices(3, 1)]
    assert np.abs(correlations).max() * math.sqrt(1000) < stats.norm.isf(FALSE_ALARM / 2)
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(one)
