"""Word errors of held-out speakers under two models, and what the difference is worth.

Intervals are of a bootstrap that draws speakers, each with all its words for both models (Bisani and Ney
2004): the words of one speaker are not independent of each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from speech.corpora.corpus import Corpus
from speech.data.examples import ExampleStore
from speech.evaluation.assessment import Assessment
from speech.evaluation.evaluation import assess, evaluate
from speech.model.recogniser import Recogniser

DRAWS, LEVEL = 2000, 0.95
BATCH = 8


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Word errors and words of each test speaker, and the seconds that the training took."""

    errors: tuple[int, ...]
    words: tuple[int, ...]
    seconds: float = 0.0

    @classmethod
    def of(cls, model: Recogniser, corpus: Corpus, seconds: float = 0.0) -> Outcome:
        """Evaluate a model on the test speakers, who are sorted by name."""
        store = ExampleStore(corpus, model.front_end, tokeniser=model.tokeniser)
        found: Assessment = assess(evaluate(model, store.split_examples("test"), BATCH), corpus, "test")
        counts = [speaker.words for speaker in found.speakers]
        errors = tuple(one.errors for one in counts)
        return cls(errors=errors, words=tuple(one.reference_length for one in counts), seconds=seconds)

    @property
    def wer(self) -> float:
        """The word error rate in percent."""
        return 100 * sum(self.errors) / sum(self.words)


def ratio(outcomes: Sequence[Outcome], bases: Sequence[Outcome]) -> tuple[float, float, float]:
    """Return the word errors over those of the base, all pairs together, and its paired interval."""
    mine, base, _ = _drawn(outcomes, bases)
    low, high = _interval(mine / base)
    errors = sum(sum(one.errors) for one in outcomes), sum(sum(one.errors) for one in bases)
    return errors[0] / errors[1], low, high


def difference(outcomes: Sequence[Outcome], bases: Sequence[Outcome]) -> tuple[float, float, float]:
    """Return the WER less that of the base, in points, all pairs together, and its paired interval."""
    mine, base, words = _drawn(outcomes, bases)
    low, high = _interval(100 * (mine - base) / words)
    errors = sum(sum(one.errors) for one in outcomes) - sum(sum(one.errors) for one in bases)
    return 100 * errors / sum(sum(one.words) for one in outcomes), low, high


def _drawn(
    outcomes: Sequence[Outcome], bases: Sequence[Outcome]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Errors, errors of the base and words of each draw of the speakers."""
    speakers = np.array(
        [
            counts
            for mine, base in zip(outcomes, bases, strict=True)
            for counts in zip(mine.errors, base.errors, mine.words, strict=True)
        ]
    )
    draws = np.random.default_rng(0).integers(0, len(speakers), (DRAWS, len(speakers)))
    mine, base, words = speakers[draws].sum(1).T
    return mine, base, words


def _interval(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
