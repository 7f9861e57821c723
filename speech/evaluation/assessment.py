"""The errors of a model on a set of utterances: by kind, by speaker, by utterance, with intervals.

It needs texts only, so one rule evaluates every decoder and every file of transcripts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from speech.evaluation.bootstrap import LEVEL, Interval, difference_interval, rate_interval
from speech.evaluation.error_rates import EditCounts, character_edits, word_edits

QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
WORST_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class UtteranceResult:
    """An utterance: its reference, its hypothesis, and the edits between them.

    Example:
        >>> found = Assessment.of(ids=["u1"], speakers=["ann"], references=["turn left"], hypotheses=["turn"])
        >>> found.utterances[0].words.deletions
        1
    """

    id: str
    speaker: str
    reference: str
    hypothesis: str
    words: EditCounts
    characters: EditCounts


@dataclass(frozen=True, kw_only=True)
class SpeakerCounts:
    """The edits of all utterances of one speaker.

    Example:
        >>> found = Assessment.of(ids=["u1"], speakers=["ann"], references=["turn left"], hypotheses=["turn"])
        >>> found.speakers[0].speaker, found.speakers[0].words.rate
        ('ann', 0.5)
    """

    speaker: str
    words: EditCounts
    characters: EditCounts


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """Utterances with their edits; everything else is computed from them.

    `normaliser` names what was compared (`speech.evaluation.normalisers`).

    Example:
        >>> found = Assessment.of(
        ...     ids=["u1", "u2"],
        ...     speakers=["ann", "bob"],
        ...     references=["turn left", "stop here now"],
        ...     hypotheses=["turn left", "stop there now"],
        ... )
        >>> found.words.errors, found.words.rate, found.worst_speakers[0].speaker
        (1, 0.2, 'bob')
    """

    utterances: tuple[UtteranceResult, ...]
    normaliser: str = "characters"

    @classmethod
    def of(
        cls,
        *,
        ids: Sequence[str],
        speakers: Sequence[str],
        references: Sequence[str],
        hypotheses: Sequence[str],
        normaliser: str = "characters",
    ) -> Assessment:
        """Assess hypotheses; the four sequences have one entry for each utterance.

        Raises:
            ValueError: If their lengths differ, or if no reference has a word.
        """
        words = word_edits(references, hypotheses)
        characters = character_edits(references, hypotheses)
        rows = zip(ids, speakers, references, hypotheses, words, characters, strict=True)
        made = cls(
            utterances=tuple(
                UtteranceResult(id=i, speaker=s, reference=r, hypothesis=h, words=w, characters=c)
                for i, s, r, h, w, c in rows
            ),
            normaliser=normaliser,
        )
        if not made.words.reference_length:
            raise ValueError(f"none of the {len(references)} references has a word; there is no error rate.")
        return made

    @cached_property
    def words(self) -> EditCounts:
        """Word edits of the whole corpus; `words.rate` is the WER."""
        return EditCounts.total(result.words for result in self.utterances)

    @cached_property
    def characters(self) -> EditCounts:
        """Character edits of the whole corpus; `characters.rate` is the CER."""
        return EditCounts.total(result.characters for result in self.utterances)

    @cached_property
    def speakers(self) -> tuple[SpeakerCounts, ...]:
        """The counts of each speaker, sorted by name."""
        groups: dict[str, list[UtteranceResult]] = {}
        for result in self.utterances:
            groups.setdefault(result.speaker, []).append(result)
        return tuple(
            SpeakerCounts(
                speaker=name,
                words=EditCounts.total(result.words for result in groups[name]),
                characters=EditCounts.total(result.characters for result in groups[name]),
            )
            for name in sorted(groups)
        )

    @property
    def word_interval(self) -> Interval | None:
        """The interval of the WER; None for a single speaker."""
        return rate_interval([speaker.words for speaker in self.speakers])

    @property
    def character_interval(self) -> Interval | None:
        """The interval of the CER; None for a single speaker."""
        return rate_interval([speaker.characters for speaker in self.speakers])

    @property
    def speaker_quantiles(self) -> dict[float, float]:
        """The `QUANTILES` of the WERs of speakers, with equal weights."""
        rates = [speaker.words.rate for speaker in self.speakers if speaker.words.reference_length]
        return {q: float(np.quantile(rates, q)) for q in QUANTILES}

    @property
    def worst_speakers(self) -> tuple[SpeakerCounts, ...]:
        """The tenth of the speakers (rounded up) with the highest WERs, the worst first."""
        with_words = [speaker for speaker in self.speakers if speaker.words.reference_length]
        ranked = sorted(with_words, key=lambda speaker: -speaker.words.rate)
        return tuple(ranked[: math.ceil(len(ranked) * WORST_SHARE)])

    def by(self, values: Mapping[str, str]) -> dict[str, Assessment]:
        """Return an assessment of the utterances of each value, sorted; `values` are by utterance ids."""
        groups: dict[str, list[UtteranceResult]] = {}
        for result in self.utterances:
            groups.setdefault(values[result.id], []).append(result)
        return {
            value: replace(self, utterances=tuple(groups[value])) for value in sorted(groups, key=_in_order)
        }

    def worst_utterances(self, count: int) -> tuple[UtteranceResult, ...]:
        """Return the `count` utterances with the most word errors, then the highest rate."""
        wrong = [result for result in self.utterances if result.words.errors]
        return tuple(sorted(wrong, key=lambda h: (-h.words.errors, h.words.reference_length))[:count])

    def summary(self) -> dict[str, Any]:
        """Return totals, intervals and quantiles, fit for JSON, without data of a single speaker."""
        worst = EditCounts.total(speaker.words for speaker in self.worst_speakers)
        return {
            "speakers": len(self.speakers),
            "utterances": len(self.utterances),
            "normaliser": self.normaliser,
            "wer": _plain(self.words, self.word_interval),
            "cer": _plain(self.characters, self.character_interval),
            "speaker_wer_quantiles": {f"{q:g}": rate for q, rate in self.speaker_quantiles.items()},
            "worst_tenth": {"speakers": len(self.worst_speakers), "wer": worst.rate},
        }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two models on the same utterances: the difference of their WERs, `ours` minus `theirs`.

    Raises:
        ValueError: If the utterances differ.

    Example:
        >>> given = {"ids": ["u1", "u2"], "speakers": ["ann", "bob"], "references": ["go left", "stop here"]}
        >>> ours = Assessment.of(**given, hypotheses=["go left", "stop"])
        >>> theirs = Assessment.of(**given, hypotheses=["go", "stop"])
        >>> comparison = Comparison(ours=ours, theirs=theirs)
        >>> comparison.difference, comparison.speakers_better
        (-0.25, 1)
    """

    ours: Assessment
    theirs: Assessment

    def __post_init__(self) -> None:
        mine, others = ([(h.id, h.reference) for h in one.utterances] for one in (self.ours, self.theirs))
        if mine != others:
            raise ValueError("two models can be compared on the same utterances only.")

    @property
    def difference(self) -> float:
        """The difference; negative if ours is better."""
        return self.ours.words.rate - self.theirs.words.rate

    @cached_property
    def interval(self) -> Interval | None:
        """The interval of the difference; the bootstrap draws speakers, each for both models."""
        return difference_interval(
            [speaker.words for speaker in self.ours.speakers],
            [speaker.words for speaker in self.theirs.speakers],
        )

    @property
    def verdict(self) -> str:
        """'better' or 'worse' if the interval excludes 0, else 'undecided'."""
        if self.interval is None or self.interval.low <= 0 <= self.interval.high:
            return "undecided"
        return "better" if self.interval.high < 0 else "worse"

    @property
    def speakers_better(self) -> int:
        """The number of speakers with fewer errors by ours."""
        pairs = zip(self.ours.speakers, self.theirs.speakers, strict=True)
        return sum(mine.words.errors < other.words.errors for mine, other in pairs)

    def summary(self) -> dict[str, Any]:
        """Return plain values, fit for JSON."""
        return {
            "wer_difference": self.difference,
            "interval": _bounds(self.interval),
            "verdict": self.verdict,
            "speakers_better": self.speakers_better,
        }


def _in_order(value: str) -> tuple[float, str]:
    """Numbers by size, then words by the alphabet."""
    try:
        return float(value), value
    except ValueError:
        return math.inf, value


def _plain(counts: EditCounts, interval: Interval | None) -> dict[str, Any]:
    return {
        "rate": counts.rate if counts.reference_length else None,
        "interval": _bounds(interval),
        "errors": counts.errors,
        "of": counts.reference_length,
        "substitutions": counts.substitutions,
        "insertions": counts.insertions,
        "deletions": counts.deletions,
    }


def _bounds(interval: Interval | None) -> dict[str, float] | None:
    if interval is None:
        return None
    return {"low": interval.low, "high": interval.high, "level": LEVEL}
