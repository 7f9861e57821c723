"""Word and character error rates of a corpus, by jiwer: all edits over all words of the references.

Rates are fractions (0.25 is 25 %). They are above 1 if there are more insertions than words. The words of a
hypothesis for an empty reference are insertions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import jiwer

_KINDS = ("hits", "substitutions", "insertions", "deletions")
_CHUNKS = ("equal", "substitute", "insert", "delete")  # what jiwer calls them

Alignment = Sequence[jiwer.AlignmentChunk]


@dataclass(frozen=True, kw_only=True)
class EditCounts:
    """Counts of words (or characters) that are right, substituted, inserted and deleted.

    Example:
        >>> [counts] = word_edits(["turn left now"], ["turn right"])
        >>> counts.substitutions, counts.deletions, counts.errors, counts.reference_length
        (1, 1, 2, 3)
    """

    hits: int = 0
    substitutions: int = 0
    insertions: int = 0
    deletions: int = 0

    @classmethod
    def of(cls, alignment: Alignment) -> EditCounts:
        """Return the counts of the alignment of one utterance."""
        counts = dict.fromkeys(_KINDS, 0)
        for chunk in alignment:
            words = max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
            counts[_KINDS[_CHUNKS.index(chunk.type)]] += words
        return cls(**counts)

    @classmethod
    def total(cls, counts: Iterable[EditCounts]) -> EditCounts:
        """Return the sum of counts."""
        listed = list(counts)
        return cls(**{kind: sum(getattr(one, kind) for one in listed) for kind in _KINDS})

    @property
    def errors(self) -> int:
        """Edits of all three kinds."""
        return self.substitutions + self.insertions + self.deletions

    @property
    def reference_length(self) -> int:
        """Words (or characters) of the references."""
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float:
        """Errors over the length of the references; NaN if that is 0."""
        return self.errors / self.reference_length if self.reference_length else math.nan


def word_edits(references: Sequence[str], hypotheses: Sequence[str]) -> list[EditCounts]:
    """Return the word edits of each utterance.

    Raises:
        ValueError: For lists of unequal length.
    """
    _check_pairs(references, hypotheses)
    return [EditCounts.of(alignment) for alignment in word_alignments(references, hypotheses)]


def character_edits(references: Sequence[str], hypotheses: Sequence[str]) -> list[EditCounts]:
    """Return the character edits of each utterance, spaces included.

    Raises:
        ValueError: For lists of unequal length.
    """
    _check_pairs(references, hypotheses)
    if not references:
        return []
    found = jiwer.process_characters(list(references), list(hypotheses))
    return [EditCounts.of(alignment) for alignment in found.alignments]


def word_alignments(references: Sequence[str], hypotheses: Sequence[str]) -> list[Alignment]:
    """Return a shortest alignment of the words of each pair."""
    return list(jiwer.process_words(list(references), list(hypotheses)).alignments) if references else []


def word_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Return the WER of a corpus.

    Raises:
        ValueError: For lists of unequal length, or references without a word.
    """
    _check(references, hypotheses)
    return float(jiwer.wer(list(references), list(hypotheses)))


def character_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Return the CER of a corpus; spaces count as characters.

    Raises:
        ValueError: As `word_error_rate` does.
    """
    _check(references, hypotheses)
    return float(jiwer.cer(list(references), list(hypotheses)))


def _check(references: Sequence[str], hypotheses: Sequence[str]) -> None:
    _check_pairs(references, hypotheses)
    if not any(reference.strip() for reference in references):
        raise ValueError(
            f"none of the {len(references)} references has a word; an error rate needs at least one."
        )


def _check_pairs(references: Sequence[str], hypotheses: Sequence[str]) -> None:
    if len(references) != len(hypotheses):
        raise ValueError(
            f"{len(references)} references and {len(hypotheses)} hypotheses: one of each is needed."
        )
