"""What paired runs say: pooled word error rates, differences and ratios, with intervals.

The runs of one group have different seeds, and all are evaluated on the same speakers. So the bootstrap draws
seeds and speakers, each with replacement and independently of each other, and takes every drawn speaker of
every drawn seed (two crossed factors: Owen 2007, "The pigeonhole bootstrap"); both sides of a comparison have
the same draw. It counts what is common to all words of a speaker, and to all speakers of a run. With few
seeds it is a little too narrow: by a factor of sqrt((k - 1) / k) for the part that k seeds bring.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cli.paper.results.record import Result

DRAWS, LEVEL = 4000, 0.95
_SEED = 2310

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value with its interval of confidence `LEVEL`; of fractions, differences of fractions, or ratios."""

    value: float
    low: float
    high: float

    def scaled(self, factor: float) -> Estimate:
        """Return the estimate times a positive factor, such as 100 for percent."""
        return Estimate(value=factor * self.value, low=factor * self.low, high=factor * self.high)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Word errors (seeds, speakers) of the runs of a group, sorted by seed, and words (speakers,)."""

    seeds: tuple[int, ...]
    errors: Counts
    words: Counts

    @classmethod
    def of(cls, results: Sequence[Result]) -> Table:
        """Return the table of the runs of one group.

        Raises:
            ValueError: If there is none, a seed comes twice, a run does not tell its counts by speaker, or
                they were evaluated on other speech.
        """
        ordered = sorted(results, key=lambda one: one.seed)
        counts = [np.array(one.wer.by_speaker, dtype=np.int64).reshape(-1, 2) for one in ordered]
        names = ", ".join(one.name for one in ordered)
        if not counts or any(not len(one) for one in counts):
            raise ValueError(f"runs {names or '(none)'}: an interval needs wer.by_speaker of each run")
        if any(len(one) != len(counts[0]) or (one[:, 1] != counts[0][:, 1]).any() for one in counts):
            raise ValueError(f"runs {names}: they were evaluated on different speakers or words")
        seeds = tuple(one.seed for one in ordered)
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"runs {names}: a seed comes twice ({seeds})")
        return cls(seeds=seeds, errors=np.stack([one[:, 0] for one in counts]), words=counts[0][:, 1])

    def only(self, seeds: Sequence[int]) -> Table:
        """Return the rows of these seeds."""
        rows = [self.seeds.index(seed) for seed in seeds]
        return Table(seeds=tuple(seeds), errors=self.errors[rows], words=self.words)


def rate(runs: Table) -> Estimate:
    """Return the word error rate of all runs together, a fraction."""
    return _estimate([runs], lambda errors, words: errors[0] / words)


def difference(runs: Table, others: Table) -> Estimate:
    """Return the WER of `runs` less that of `others`, over the seeds that both have.

    Raises:
        ValueError: If they have no common seed, or other speakers.
    """
    return mean_difference([(runs, others)])


def mean_difference(pairs: Sequence[tuple[Table, Table]]) -> Estimate:
    """Return the mean over pairs of the WER of the first less that of the second, for the seeds of all.

    Raises:
        ValueError: If they have no common seed, or other speakers.
    """
    sides = _aligned([*(one for one, _ in pairs), *(other for _, other in pairs)])
    count = len(pairs)
    return _estimate(
        sides, lambda errors, words: (errors[:count].sum(0) - errors[count:].sum(0)) / (count * words)
    )


def ratio(runs: Table, others: Table) -> Estimate:
    """Return the WER of `runs` over that of `others`, for their common seeds; raises as `difference`."""
    return _estimate(_aligned([runs, others]), lambda errors, words: errors[0] / np.maximum(errors[1], 1))


def _aligned(tables: Sequence[Table]) -> list[Table]:
    """Return the rows of the seeds that all tables have."""
    seeds = sorted(set.intersection(*(set(one.seeds) for one in tables)))
    if not seeds:
        given = " and ".join(str(one.seeds) for one in tables)
        raise ValueError(f"seeds {given}: a paired comparison needs a common one")
    if any(one.words.tolist() != tables[0].words.tolist() for one in tables):
        raise ValueError("a paired comparison needs the same speakers and words on both sides")
    return [one.only(seeds) for one in tables]


def _estimate(tables: Sequence[Table], statistic: Callable[[Floats, Floats], Floats]) -> Estimate:
    """Return a statistic of errors (sides, draws) and words (draws,), with its percentile interval."""
    seeds, speakers = tables[0].errors.shape
    source = np.random.default_rng(_SEED)
    whole = np.ones((1, seeds)), np.ones((1, speakers))
    drawn = _weights(source, seeds), _weights(source, speakers)
    (value,) = _of_weights(tables, statistic, *whole)
    low, high = np.quantile(_of_weights(tables, statistic, *drawn), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value=float(value), low=float(low), high=float(high))


def _weights(source: np.random.Generator, count: int) -> Floats:
    """Return how often each of `count` is in each draw (DRAWS, count)."""
    drawn = source.integers(0, count, (DRAWS, count)) + count * np.arange(DRAWS)[:, None]
    return np.bincount(drawn.ravel(), minlength=DRAWS * count).reshape(DRAWS, count).astype(np.float64)


def _of_weights(
    tables: Sequence[Table],
    statistic: Callable[[Floats, Floats], Floats],
    seeds: Floats,
    speakers: Floats,
) -> Floats:
    errors = np.stack([((seeds @ one.errors) * speakers).sum(1) for one in tables])
    words = seeds.sum(1) * (speakers @ tables[0].words)
    return statistic(errors, np.maximum(words, 1))
