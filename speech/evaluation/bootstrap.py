"""Intervals of error rates by bootstrap over speakers (BCa, Efron 1987, by scipy).

The bootstrap draws speakers, with all of their utterances: words of one speaker are not independent, and an
interval over utterances would be too narrow. The rate is a ratio of sums, as that of the corpus. The draws
are seeded: the same counts give the same interval.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from speech.evaluation.error_rates import EditCounts

LEVEL = 0.95
RESAMPLES = 9_999
FEW_SPEAKERS = 10
"""With fewer speakers a bootstrap interval is known to be too narrow, and reports warn."""

_SEED = 2310
_VALUES_AT_ONCE = 2_000_000

Counts = np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An interval from `low` to `high` of confidence `LEVEL`, over a number of `speakers`.

    Example:
        >>> from speech.evaluation.error_rates import EditCounts
        >>> interval = rate_interval([EditCounts(hits=9, deletions=1), EditCounts(hits=8, deletions=2)])
        >>> 0.1 <= interval.low <= interval.high <= 0.2
        True
    """

    low: float
    high: float
    speakers: int


def rate_interval(speakers: Sequence[EditCounts]) -> Interval | None:
    """Return the interval of the rate of all speakers; None if fewer than two have a word."""
    errors = np.array([counts.errors for counts in speakers], dtype=np.float64)
    lengths = np.array([counts.reference_length for counts in speakers], dtype=np.float64)
    return _interval((errors, lengths), _rate)


def difference_interval(speakers: Sequence[EditCounts], others: Sequence[EditCounts]) -> Interval | None:
    """Return the interval of the rate of `speakers` minus the rate of `others`; None as `rate_interval`.

    It is paired: both list the same speakers in the same order, for two models, and each draw takes a speaker
    for both.

    Raises:
        ValueError: If the references differ in length.
    """
    if [counts.reference_length for counts in speakers] != [counts.reference_length for counts in others]:
        raise ValueError("a paired comparison needs the same speakers and references for both models.")
    errors = np.array([mine.errors - other.errors for mine, other in zip(speakers, others, strict=True)])
    lengths = np.array([counts.reference_length for counts in speakers], dtype=np.float64)
    return _interval((errors.astype(np.float64), lengths), _rate)


def _rate(errors: Counts, lengths: Counts, axis: int = -1) -> Counts:
    # If many speakers have empty references only, a draw may have no word.
    rate: Counts = errors.sum(axis) / np.maximum(lengths.sum(axis), 1)
    return rate


def _interval(samples: tuple[Counts, Counts], statistic: object) -> Interval | None:
    if np.count_nonzero(samples[1]) < 2:
        return None
    low, high = _bounds(samples, statistic, "BCa")
    if np.isnan(low) or np.isnan(high):  # all speakers are equal, or only one has words
        low, high = _bounds(samples, statistic, "percentile")
    return Interval(low=low, high=high, speakers=len(samples[0]))


def _bounds(samples: tuple[Counts, Counts], statistic: object, method: str) -> tuple[float, float]:
    # Imported here: it is slow to load, and most callers need no interval.
    from scipy.stats import DegenerateDataWarning, bootstrap

    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", DegenerateDataWarning)
        found = bootstrap(
            samples,
            statistic,
            paired=True,
            vectorized=True,
            n_resamples=RESAMPLES,
            batch=max(1, _VALUES_AT_ONCE // len(samples[0])),
            confidence_level=LEVEL,
            method=method,
            rng=np.random.default_rng(_SEED),
        ).confidence_interval
    return float(found.low), float(found.high)
