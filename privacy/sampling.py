"""Who takes part in a round: every member independently, by a coin of the operating system's randomness.

The accountants' amplification by sampling holds for exactly this sampler. A fixed-size cohort, a shuffled
epoch or a seeded generator would each make the reported epsilon false.
"""

import os

import numpy as np

from privacy.validate import probability, whole

_BLOCK = 1 << 20


def poisson_sample(population: int, rate: float) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Draw a Poisson cohort.

    Guarantee:
        Each member is drawn independently of all others, with probability ``rate`` rounded down to a multiple
        of 2**-64 (so never above it), by 64 bits of ``os.urandom``. Nothing can seed or replay the draw.

    Args:
        population: the number of members, N.
        rate: the probability q of each; 1 draws all, 0 none.

    Returns:
        The drawn members' indices, ascending, int64. Their number is random and may be zero.
    """
    whole(population=population)
    if probability(rate=rate) == 1:
        return np.arange(population, dtype=np.int64)
    threshold = np.uint64(int(rate * 2.0**64))  # exact: scaling by a power of two
    drawn = [
        begin + np.flatnonzero(_random_words(min(_BLOCK, population - begin)) < threshold)
        for begin in range(0, population, _BLOCK)
    ]
    return np.concatenate([np.empty(0, dtype=np.int64), *drawn])


def _random_words(count: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.frombuffer(os.urandom(8 * count), dtype=np.uint64)
