"""The sampler against its definition, bit for bit: on random words, and on those chosen to do harm."""

import itertools
import math
from collections.abc import Iterator

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats

from privacy.noise.exact_normals import ExactNormals
from privacy.noise.rounded_normals import RoundedNormals
from tests.privacy.exact_reference import reference_pair

FALSE_ALARM = 1e-7
FURTHER = [
    (0, 2**64 - 1),
    (0, 0),
    (12345678901234567, 2**63),
    *((7 * 2**61 + k, 3 * 2**60 - k) for k in range(5)),
]
QUARTER = 2**62
EDGE, TOP = 2**42, 2**64
RADII = [0, 1, 2, 3, 5, 2**10, 2**32, 2**41, EDGE - 1, EDGE, EDGE + 1, 2**53 + 1, 2**63, TOP - EDGE - 1]
RADII += [TOP - EDGE, TOP - 2**12, TOP - 2, TOP - 1]
ANGLES = [0, 1, 2**33, QUARTER // 2, *(k * QUARTER + s for k in (1, 2, 3) for s in (-1, 0, 1)), TOP - 1]
STDS = [1e-3, 0.7, 2.0**20, 2.0**36]


class Words:
    """`more_words` from a list; it remembers how many were drawn."""

    def __init__(self, further: list[tuple[int, int]]) -> None:
        self.further, self.drawn = further, 0

    def __call__(self) -> tuple[int, int]:
        self.drawn += 1
        return self.further[self.drawn - 1]


def reference(
    radius: int, angle: int, std: float, centres: tuple[int, int] = (0, 0), bits: int = 0, further=FURTHER
) -> tuple[int, int]:
    """By the digits of both words and of all further ones."""
    words = [(radius, angle), *further]
    return reference_pair([one for one, _ in words], [other for _, other in words], std, centres, bits)


def sample(words: np.ndarray, std: float, centres: np.ndarray, bits: int) -> tuple[np.ndarray, int]:
    """The sampler's integers, each pair with the same further words, and how many were unsettled."""
    values, unsettled = centres.copy(), 0
    for pair in range(words.shape[1]):
        part = np.ascontiguousarray(values[:, pair : pair + 1])
        unsettled += RoundedNormals(1, Words(FURTHER)).add_(
            part, np.ascontiguousarray(words[:, pair : pair + 1]), std, bits
        )
        values[:, pair : pair + 1] = part
    return values, unsettled


@pytest.mark.parametrize("std", STDS)
@pytest.mark.parametrize("bits", [0, 20])
def test_words_chosen_to_do_harm_give_the_references_integers(std: float, bits: int) -> None:
    words = np.array(list(itertools.product(RADII, ANGLES)), dtype=np.uint64).T
    centres = np.random.default_rng(4).integers(-(2**45), 2**45, words.shape)
    values, unsettled = sample(words, std, centres, bits)
    for pair in range(words.shape[1]):
        radius, angle, *centre = (int(number) for number in (*words[:, pair], *centres[:, pair]))
        assert reference(radius, angle, std, tuple(centre), bits) == tuple(values[:, pair])
    assert unsettled >= 12 * len(ANGLES)  # those next to the ends of U


@pytest.mark.parametrize("std", [0.3, 2.0**20, 2.0**30])
@pytest.mark.parametrize("bits", [0, 20])
def test_random_words_give_the_definitions_integers(std: float, bits: int) -> None:
    """Many at a time; the reference looks at some."""
    generator, size = np.random.default_rng(int(std) + bits), 800
    words = generator.integers(0, TOP, (2, size), dtype=np.uint64)
    centres = generator.integers(-(2**50), 2**50, (2, size))
    values = centres.copy()
    RoundedNormals(size, Words(FURTHER)).add_(values, words, std, bits)
    exact = ExactNormals(Words([]))
    for pair in range(size):
        radius, angle, *centre = (int(number) for number in (*words[:, pair], *centres[:, pair]))
        assert exact.pair(radius, angle, std, tuple(centre), bits) == tuple(values[:, pair])
        if pair % 10 == 0:
            assert reference(radius, angle, std, tuple(centre), bits) == tuple(values[:, pair])


def test_as_many_pairs_are_left_unsettled_as_the_bound_says() -> None:
    """Of either value 2 e of all are near a half, and 2**-21 of all pairs have U near 0 or 1."""
    std, size = 2.0**30, 1 << 15
    words = np.random.default_rng(8).integers(0, TOP, (2, size), dtype=np.uint64)
    unsettled = RoundedNormals(size, Words([])).add_(np.zeros((2, size), dtype=np.int64), words, std)
    expected = stats.binom(size, 4 * 2.0**-40 * std + 2.0**-21)
    assert expected.ppf(FALSE_ALARM) <= unsettled <= expected.isf(FALSE_ALARM)


def near_a_half() -> Iterator[tuple[int, int, float]]:
    """Words and a std for which float64's cosine value is within a few units in the last place of a half."""
    for radius, angle in (
        np.random.default_rng(2).integers(EDGE, TOP - EDGE, (40, 2), dtype=np.uint64).tolist()
    ):
        with mpmath.workprec(300):
            normal = mpmath.sqrt(-2 * mpmath.log(mpmath.mpf(radius) / TOP)) * mpmath.cospi(
                mpmath.mpf(angle) / 2**63
            )
            half = math.floor(2**20 * normal) + mpmath.mpf(0.5)
            yield radius, angle, float(half / normal)


def test_values_next_to_a_half_are_settled_exactly() -> None:
    """Half of them lie above, half below; float64 alone would guess."""
    above = 0
    for radius, angle, std in near_a_half():
        values = np.zeros((2, 1), dtype=np.int64)
        words = np.array([[radius], [angle]], dtype=np.uint64)
        assert RoundedNormals(1, Words(FURTHER)).add_(values, words, std) == 1
        assert tuple(values[:, 0]) == reference(radius, angle, std)
        with mpmath.workprec(300):
            middle = mpmath.mpf(2 * radius + 1) / 2**65
            value = (
                std * mpmath.sqrt(-2 * mpmath.log(middle)) * mpmath.cospi(mpmath.mpf(2 * angle + 1) / 2**64)
            )
        above += values[0, 0] > value
    assert 5 < above < 35


def test_both_of_a_pair_follow_from_the_same_further_digits() -> None:
    """A radius word of 5 decides little: the digits that follow decide both values, and nothing else does."""
    seen = set()
    for further in ([(0, 7), (1, 1)], [(2**63, 7), (1, 1)], [(TOP - 1, 7), (1, 1)]):
        values = np.zeros((2, 1), dtype=np.int64)
        more = Words([*further, *FURTHER])
        assert RoundedNormals(1, more).add_(values, np.array([[5], [2**60]], dtype=np.uint64), 2.0**20) == 1
        assert tuple(values[:, 0]) == reference(5, 2**60, 2.0**20, further=more.further)
        assert more.drawn >= 1
        seen.add(tuple(values[:, 0]))
    assert len(seen) == 3


def test_no_tail_is_missing() -> None:
    """Every further radius word of zeros takes the value farther out, without end."""
    farthest = 9.42 * 2**20
    for zeros in range(1, 8):
        values = np.zeros((2, 1), dtype=np.int64)
        further = [*[(0, 0)] * (zeros - 1), (2**63, 1), *FURTHER]
        RoundedNormals(1, Words(further)).add_(values, np.array([[0], [0]], dtype=np.uint64), 2.0**20)
        assert values[0, 0] > farthest
        assert values[0, 0] / 2**20 == pytest.approx(math.sqrt(2 * (64 * zeros + 1) * math.log(2)))
        farthest = values[0, 0]


def words_of(first: float, second: float, std: float) -> list[tuple[int, int]]:
    """Box and Muller backwards: the words of the U and V from which these two values come."""
    with mpmath.workprec(64 * 12):
        x, y = mpmath.mpf(first) / std, mpmath.mpf(second) / std
        u, v = mpmath.exp(-(x * x + y * y) / 2), mpmath.atan2(y, x) / (2 * mpmath.pi) % 1
        digits = [int(mpmath.floor(number * 2 ** (64 * 10))) for number in (u, v)]
    return [tuple(number >> 64 * place & TOP - 1 for number in digits) for place in reversed(range(10))]  # type: ignore[misc]


@pytest.mark.parametrize("std", [1.0, 2.0**20 * 2.048])
def test_what_is_possible_with_a_speaker_is_possible_without(std: float) -> None:
    """Every pair of integers has its words, and so has the pair that lies one sensitivity away.

    Of 63 bits for a radius and no more, most of these pairs would come from none: far out, their circles are
    wider apart than the integers.
    """
    generator = np.random.default_rng(6)
    for distance in (0.5, 6.0, 8.5, 9.3, 9.6, 15.0):
        turn = generator.uniform(0, 2 * math.pi)
        pair = [round(distance * std * math.cos(turn)), round(distance * std * math.sin(turn))]
        for target in (pair, [pair[0] - round(std / 2), pair[1]]):
            words = words_of(target[0] + 0.25, target[1] - 0.125, std)
            values = np.zeros((2, 1), dtype=np.int64)
            RoundedNormals(1, Words(words[1:])).add_(
                values, np.array([words[0]], dtype=np.uint64).T.copy(), std
            )
            assert values[:, 0].tolist() == target


def test_sums_wrap_around_as_integers_do() -> None:
    """Modulo 2**64 is still a function of the exact number; the slow way does as the fast one."""
    words = np.random.default_rng(1).integers(0, TOP, (2, 200), dtype=np.uint64)
    near_the_end = np.full((2, 200), 2**63 - 1)
    low, high = np.zeros((2, 200), dtype=np.int64), near_the_end.copy()
    unsettled = [RoundedNormals(200, Words(FURTHER)).add_(values, words, 2.0**36) for values in (low, high)]
    assert 0 < unsettled[0] == unsettled[1] < 200
    with np.errstate(over="ignore"):
        assert np.array_equal(high, low + near_the_end)


@pytest.mark.parametrize("size", [0, 1, 2, 999])
def test_scratch_for_more_pairs_than_there_are(size: int) -> None:
    words = np.random.default_rng(size).integers(0, TOP, (2, 1000), dtype=np.uint64)[:, :size].copy()
    roomy, narrow = np.zeros((2, 2, size), dtype=np.int64)
    RoundedNormals(1000, Words(FURTHER)).add_(roomy, words, 1e6)
    RoundedNormals(size, Words(FURTHER)).add_(narrow, words, 1e6)
    assert np.array_equal(roomy, narrow)
    assert np.count_nonzero(roomy) >= 2 * size - 2


def test_torchs_functions_are_far_better_than_the_bound_takes_them_to_be() -> None:
    """Within 4 units in the last place (2**-50), where 128 (2**-45) are allowed; also at both ends."""
    generator = np.random.default_rng(3)
    u = np.concatenate(
        [
            generator.uniform(size=1500),
            2.0**-22 * generator.uniform(1, 2, 250),
            1 - 2.0**-22 * generator.uniform(1, 2, 250),
        ]
    )
    angle = generator.uniform(-math.pi, math.pi, 2000)
    angle[:7] = np.linspace(-math.pi, math.pi, 7)
    for ours, exact, values, relative in (
        (torch.log, mpmath.log, u, True),
        (torch.sqrt, mpmath.sqrt, -2 * np.log(u), True),
        (torch.cos, mpmath.cos, angle, False),
        (torch.sin, mpmath.sin, angle, False),
    ):
        found = ours(torch.from_numpy(values)).tolist()
        with mpmath.workprec(120):
            for value, one in zip(values.tolist(), found, strict=True):
                right = exact(mpmath.mpf(value))
                assert abs(one - right) <= 2.0**-50 * (abs(right) if relative else 1)
