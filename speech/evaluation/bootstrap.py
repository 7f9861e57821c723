"""How sure an error rate is: bootstrap intervals over speakers (BCa, Efron 1987, by scipy).

Speakers are drawn anew, with all that they said: words of one voice are not independent of each
other, and an interval over utterances would be too narrow. The rate is a ratio of sums, as the
corpus' own. The draws are seeded: the same counts give the same interval.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from speech.evaluation.error_rates import EditCounts

LEVEL = 0.95
RESAMPLES = 9_999
FEW_SPEAKERS = 10
"""Below so many speakers a bootstrap interval is known to be too narrow: say so beside it."""

_SEED = 2310
_VALUES_AT_ONCE = 2_000_000

Counts = np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """From `low` to `high`, at the level of confidence `LEVEL`, over so many `speakers`."""

    low: float
    high: float
    speakers: int


def rate_interval(speakers: Sequence[EditCounts]) -> Interval | None:
    """The interval of the rate of all speakers together; None for fewer than two who said a word."""
    errors = np.array([counts.errors for counts in speakers], dtype=np.float64)
    said = np.array([counts.said for counts in speakers], dtype=np.float64)
    return _interval((errors, said), _rate)


def difference_interval(speakers: Sequence[EditCounts], others: Sequence[EditCounts]) -> Interval | None:
    """The interval of the rate of `speakers` less that of `others`; None as in `rate_interval`.

    Paired: both hold the same speakers, in the same order, as two models heard them, and a draw takes
    a speaker for both. Raises `ValueError` if they were not said the same.
    """
    if [counts.said for counts in speakers] != [counts.said for counts in others]:
        raise ValueError("a paired comparison needs the same speakers and references for both models.")
    errors = np.array([mine.errors - other.errors for mine, other in zip(speakers, others, strict=True)])
    said = np.array([counts.said for counts in speakers], dtype=np.float64)
    return _interval((errors.astype(np.float64), said), _rate)


def _rate(errors: Counts, said: Counts, axis: int = -1) -> Counts:
    # Where speakers with nothing but empty references are many, a draw may be without a word.
    rate: Counts = errors.sum(axis) / np.maximum(said.sum(axis), 1)
    return rate


def _interval(samples: tuple[Counts, Counts], statistic: object) -> Interval | None:
    if np.count_nonzero(samples[1]) < 2:
        return None
    low, high = _bounds(samples, statistic, "BCa")
    if np.isnan(low) or np.isnan(high):  # every speaker the same, or one alone has the words
        low, high = _bounds(samples, statistic, "percentile")
    return Interval(low=low, high=high, speakers=len(samples[0]))


def _bounds(samples: tuple[Counts, Counts], statistic: object, method: str) -> tuple[float, float]:
    # Imported here: slow to load for everyone who asks for no interval.
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
