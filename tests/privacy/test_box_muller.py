"""The compiled formula is numpy's, for words of every kind, and covers the whole circle."""

import numpy as np
import pytest

from privacy.box_muller import add_rounded_normals_, normals

SIZE = 100_003
WORDS = np.random.default_rng(7).integers(0, 2**64, (2, SIZE), dtype=np.uint64, endpoint=False)
EDGES = np.array(
    [0, 1, 2, 3, 2**32, 2**52, 2**53 + 1, 2**62, 2**63 - 1, 2**63, 2**64 - 4, 2**64 - 1], dtype=np.uint64
)


def formula(radius_words: np.ndarray, angle_words: np.ndarray) -> np.ndarray:
    """Box and Muller by numpy's functions."""
    u = ((radius_words >> np.uint64(1)).astype(np.float64) + 0.5) * 2.0**-63
    x = ((angle_words >> np.uint64(2)).astype(np.float64) * 2.0**-62 - 0.5) * (np.pi / 2)
    swap, turn = angle_words & np.uint64(1), angle_words & np.uint64(2)
    both = np.where(swap, (np.sin(x), np.cos(x)), (np.cos(x), np.sin(x)))
    return np.sqrt(-2 * np.log(u)) * both * np.where(turn, -1, 1)


@pytest.mark.parametrize("std", [1.0, 2.0**20, 3e-5])
def test_it_is_the_formula_to_the_last_places(std: float) -> None:
    grid = np.array(np.meshgrid(EDGES, EDGES)).reshape(2, -1)
    for words in (WORDS, grid):
        out = np.empty(words.shape)
        normals(words[0], words[1], out, std)
        # Next to a radius of 0 and an angle of 0 an error of the last place of 1 is all that is left.
        np.testing.assert_allclose(out, std * formula(*words), rtol=1e-15 * 4, atol=std * 1e-15)


def test_every_quarter_of_the_circle_is_met_equally_often() -> None:
    out = np.empty((2, SIZE))
    normals(WORDS[0], WORDS[1], out, 1.0)
    quarters = np.bincount(np.floor((np.arctan2(*out) / (np.pi / 2)) % 4).astype(int), minlength=4)
    assert abs(quarters / SIZE - 0.25).max() < 6 * np.sqrt(0.25 * 0.75 / SIZE)  # false alarm: 1e-8


@pytest.mark.parametrize("std", [1e-3, 1.0, 2.0**20, 2.0**44])
def test_they_are_added_as_whole_numbers(std: float) -> None:
    reals, before = np.empty(WORDS.shape), np.arange(WORDS.size).reshape(WORDS.shape) - SIZE
    sums = before.copy()
    normals(WORDS[0], WORDS[1], reals, std)
    add_rounded_normals_(WORDS[0], WORDS[1], sums, std)
    # a product that is added at once is rounded once: next to a half, and only there, the two may differ
    settled = np.abs(reals - np.floor(reals) - 0.5) > 1e-15 * std
    assert settled.mean() > 0.95
    assert np.array_equal((sums - before)[settled], np.rint(reals).astype(np.int64)[settled])
