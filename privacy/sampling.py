"""The cohort of a round: each speaker is drawn independently, with the operating system's randomness.

The accountants' amplification by sampling holds for exactly this sampler. A fixed-size cohort, a shuffled
epoch or a seeded generator would each make the reported epsilon false.
"""

import os
import secrets

import numpy as np

from privacy.plan import PrivacyPlan
from privacy.validate import probability, whole

Indices = np.ndarray[tuple[int], np.dtype[np.int64]]

_BLOCK = 1 << 20


def draw_cohort(plan: PrivacyPlan, step: int) -> Indices:
    """Draw the cohort of the ``step``-th round (from 0) since the start of this process.

    Guarantee:
        Each speaker is drawn by an independent coin from the operating system. With b bands, speaker i always
        belongs to group i mod b, and only group ``step mod b`` is drawn from, with probability b q: no
        speaker takes part twice in b consecutive rounds. With a cap, a larger cohort is cut down to a subset
        that is uniform by the operating system's randomness: a truncated Poisson sample.

    Returns:
        The indices of the drawn speakers, ascending.
    """
    group = step % plan.bands
    members = len(range(group, plan.population, plan.bands))
    drawn = group + plan.bands * poisson_sample(members, plan.release.sampling_rate)
    if not plan.cohort_cap or len(drawn) <= plan.cohort_cap:
        return drawn
    kept = secrets.SystemRandom().sample(range(len(drawn)), plan.cohort_cap)
    return drawn[sorted(kept)]


def poisson_sample(population: int, rate: float) -> Indices:
    """Draw a Poisson cohort.

    Guarantee:
        Each member is drawn independently of all others, by 64 bits of ``os.urandom``. The probability is
        ``rate``, rounded down to a multiple of 2**-64 (so never above it). Nothing can seed or repeat the
        draw.

    Args:
        population: N, the number of members.
        rate: q, the probability of each; 1 draws all, 0 draws none.

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
