"""Statistics of a corpus, as in the paper's Table 2: speech, and its distribution over speakers."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from speech.corpora.corpus import Corpus
from speech.corpora.speakers import shared_speakers


@dataclass(frozen=True, kw_only=True)
class SplitStatistics:
    """The numbers of one split; minutes are per speaker.

    Example:
        >>> from speech.corpora.loading import load_corpus
        >>> test = next(row for row in split_statistics(load_corpus("embedded", "")) if row.split == "test")
        >>> test.speakers, test.utterances, test.skipped
        (20, 240, 0)
    """

    split: str
    speakers: int
    utterances: int
    hours: float
    minutes_mean: float
    minutes_std: float
    minutes_min: float
    minutes_max: float
    words: int
    sentences: int
    skipped: int
    mapped: int


def minutes_per_speaker(corpus: Corpus, split: str) -> np.ndarray:
    """Return (speakers,) minutes; speech of unknown length counts as zero."""
    return np.array(
        [
            sum(u.duration_seconds or 0.0 for u in corpus.utterances(split, speaker)) / 60
            for speaker in corpus.speakers(split)
        ]
    )


def split_statistics(corpus: Corpus) -> list[SplitStatistics]:
    """Return the numbers of every split, then of the splits without a usable utterance."""
    skipped = Counter(left_out.split for left_out in corpus.skipped)
    mapped = Counter(kept.split for kept in corpus.mapped)
    splits = (*corpus.splits, *sorted(set(skipped) - set(corpus.splits)))
    return [_of(corpus, split, skipped[split], mapped[split]) for split in splits]


def as_json(corpus: Corpus) -> dict[str, Any]:
    """Return all statistics and the identity of the corpus, fit for JSON."""
    return {
        "name": corpus.name,
        "language": corpus.language,
        "digest": corpus.digest,
        "splits": [vars(split) for split in split_statistics(corpus)],
        "shared_speakers": {speaker: list(splits) for speaker, splits in shared_speakers(corpus).items()},
        "skipped": [vars(left_out) for left_out in corpus.skipped],
        "mapped": [vars(kept) for kept in corpus.mapped],
    }


def _of(corpus: Corpus, split: str, skipped: int, mapped: int) -> SplitStatistics:
    there = split in corpus.splits
    texts = [u.text for u in corpus.all_utterances() if u.split == split]
    minutes = minutes_per_speaker(corpus, split) if there else np.zeros(1)
    return SplitStatistics(
        split=split,
        speakers=len(corpus.speakers(split)) if there else 0,
        utterances=len(texts),
        hours=float(minutes.sum()) / 60,
        minutes_mean=float(minutes.mean()),
        minutes_std=float(minutes.std()),
        minutes_min=float(minutes.min()),
        minutes_max=float(minutes.max()),
        words=len({word for text in texts for word in text.split()}),
        sentences=len(set(texts)),
        skipped=skipped,
        mapped=mapped,
    )
