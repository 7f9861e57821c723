"""What a model made of a set of utterances: errors by kind, by speaker and by utterance, and how sure.

Made from texts alone, so that any decoder, or any file of transcripts, is judged by the same rule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from speech.evaluation.bootstrap import LEVEL, Interval, difference_interval, rate_interval
from speech.evaluation.error_rates import EditCounts, character_edits, word_edits

QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
WORST_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class UtteranceResult:
    """One utterance, as it was and as it was heard, and the edits between the two."""

    id: str
    speaker: str
    reference: str
    hypothesis: str
    words: EditCounts
    characters: EditCounts


@dataclass(frozen=True, kw_only=True)
class SpeakerCounts:
    """All that one speaker said."""

    speaker: str
    words: EditCounts
    characters: EditCounts


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """Utterances with their edits; everything else is computed from them."""

    utterances: tuple[UtteranceResult, ...]

    @classmethod
    def of(
        cls,
        *,
        ids: Sequence[str],
        speakers: Sequence[str],
        references: Sequence[str],
        hypotheses: Sequence[str],
    ) -> Assessment:
        """Assess hypotheses; the four sequences go together.

        Raises `ValueError` if they are not of one length, or if no reference has a word.
        """
        words = word_edits(references, hypotheses)
        characters = character_edits(references, hypotheses)
        rows = zip(ids, speakers, references, hypotheses, words, characters, strict=True)
        made = cls(
            utterances=tuple(
                UtteranceResult(id=i, speaker=s, reference=r, hypothesis=h, words=w, characters=c)
                for i, s, r, h, w, c in rows
            )
        )
        if not made.words.said:
            raise ValueError(f"none of the {len(references)} references has a word; there is no error rate.")
        return made

    @cached_property
    def words(self) -> EditCounts:
        """Word edits of the whole corpus; `words.rate` is the WER."""
        return EditCounts.total(heard.words for heard in self.utterances)

    @cached_property
    def characters(self) -> EditCounts:
        """Character edits of the whole corpus; `characters.rate` is the CER."""
        return EditCounts.total(heard.characters for heard in self.utterances)

    @cached_property
    def speakers(self) -> tuple[SpeakerCounts, ...]:
        """Each speaker's counts, in the order of their names."""
        groups: dict[str, list[UtteranceResult]] = {}
        for heard in self.utterances:
            groups.setdefault(heard.speaker, []).append(heard)
        return tuple(
            SpeakerCounts(
                speaker=name,
                words=EditCounts.total(heard.words for heard in groups[name]),
                characters=EditCounts.total(heard.characters for heard in groups[name]),
            )
            for name in sorted(groups)
        )

    @property
    def word_interval(self) -> Interval | None:
        """How sure the WER is; None for one speaker alone."""
        return rate_interval([speaker.words for speaker in self.speakers])

    @property
    def character_interval(self) -> Interval | None:
        """How sure the CER is; None for one speaker alone."""
        return rate_interval([speaker.characters for speaker in self.speakers])

    @property
    def speaker_quantiles(self) -> dict[float, float]:
        """The `QUANTILES` of the speakers' own WERs, each speaker counting the same."""
        rates = [speaker.words.rate for speaker in self.speakers if speaker.words.said]
        return {q: float(np.quantile(rates, q)) for q in QUANTILES}

    @property
    def worst_speakers(self) -> tuple[SpeakerCounts, ...]:
        """The tenth of the speakers (rounded up) with the highest WERs, the worst first."""
        with_words = [speaker for speaker in self.speakers if speaker.words.said]
        ranked = sorted(with_words, key=lambda speaker: -speaker.words.rate)
        return tuple(ranked[: math.ceil(len(ranked) * WORST_SHARE)])

    def worst_utterances(self, count: int) -> tuple[UtteranceResult, ...]:
        """The `count` utterances with the most word errors, of equal ones that with the higher rate."""
        wrong = [heard for heard in self.utterances if heard.words.errors]
        return tuple(sorted(wrong, key=lambda h: (-h.words.errors, h.words.said))[:count])

    def summary(self) -> dict[str, Any]:
        """Totals, intervals and quantiles in plain values, fit for JSON: nothing of a single speaker."""
        worst = EditCounts.total(speaker.words for speaker in self.worst_speakers)
        return {
            "speakers": len(self.speakers),
            "utterances": len(self.utterances),
            "wer": _plain(self.words, self.word_interval),
            "cer": _plain(self.characters, self.character_interval),
            "speaker_wer_quantiles": {f"{q:g}": rate for q, rate in self.speaker_quantiles.items()},
            "worst_tenth": {"speakers": len(self.worst_speakers), "wer": worst.rate},
        }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two models on the same utterances: their difference in WER, `ours` less `theirs`."""

    ours: Assessment
    theirs: Assessment

    def __post_init__(self) -> None:
        mine, others = ([(h.id, h.reference) for h in one.utterances] for one in (self.ours, self.theirs))
        if mine != others:
            raise ValueError("two models can be compared on the same utterances only.")

    @property
    def difference(self) -> float:
        """Negative where ours is better."""
        return self.ours.words.rate - self.theirs.words.rate

    @cached_property
    def interval(self) -> Interval | None:
        """How sure the difference is: speakers drawn anew, each for both models."""
        return difference_interval(
            [speaker.words for speaker in self.ours.speakers],
            [speaker.words for speaker in self.theirs.speakers],
        )

    @property
    def verdict(self) -> str:
        """'better', 'worse' or 'undecided': whether the interval leaves out 0."""
        if self.interval is None or self.interval.low <= 0 <= self.interval.high:
            return "undecided"
        return "better" if self.interval.high < 0 else "worse"

    @property
    def speakers_better(self) -> int:
        """How many speakers have fewer errors with ours."""
        pairs = zip(self.ours.speakers, self.theirs.speakers, strict=True)
        return sum(mine.words.errors < other.words.errors for mine, other in pairs)

    def summary(self) -> dict[str, Any]:
        """In plain values, fit for JSON."""
        return {
            "wer_difference": self.difference,
            "interval": _bounds(self.interval),
            "verdict": self.verdict,
            "speakers_better": self.speakers_better,
        }


def _plain(counts: EditCounts, interval: Interval | None) -> dict[str, Any]:
    return {
        "rate": counts.rate,
        "interval": _bounds(interval),
        "errors": counts.errors,
        "of": counts.said,
        "substitutions": counts.substitutions,
        "insertions": counts.insertions,
        "deletions": counts.deletions,
    }


def _bounds(interval: Interval | None) -> dict[str, float] | None:
    if interval is None:
        return None
    return {"low": interval.low, "high": interval.high, "level": LEVEL}
