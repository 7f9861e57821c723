"""speech.corpora.statistics: Table 2's columns, computed another way."""

import json
import statistics
from pathlib import Path

import pytest

from speech.corpora.corpus import Corpus, Skipped, Utterance
from speech.corpora.statistics import as_json, split_statistics

SECONDS = {"ann": [60.0, 30.0], "bob": [120.0], "eve": [15.0]}


@pytest.fixture
def corpus() -> Corpus:
    rows = [
        Utterance(
            id=f"{speaker}{number}",
            speaker=speaker,
            split="train",
            audio=Path("a.wav"),
            text="yes no" if speaker == "ann" else "yes",
            source="m:1",
            duration_seconds=seconds,
        )
        for speaker, lengths in SECONDS.items()
        for number, seconds in enumerate(lengths)
    ]
    skipped = [Skipped(source="m:2", reason="too long", split="dev", speaker="dan")]
    mapped = [Skipped(source="m:1", reason="has '1'", split="train", speaker="ann")]
    return Corpus.of("c", rows, skipped, mapped=mapped)


def test_hours_and_minutes_per_speaker(corpus: Corpus) -> None:
    train, dev = split_statistics(corpus)
    minutes = [sum(lengths) / 60 for lengths in SECONDS.values()]
    assert train.hours == pytest.approx(sum(minutes) / 60)
    assert train.minutes_mean == pytest.approx(statistics.mean(minutes))
    assert train.minutes_std == pytest.approx(statistics.pstdev(minutes))
    assert (train.minutes_min, train.minutes_max) == (0.25, 2.0)
    assert (train.speakers, train.utterances, train.words, train.sentences) == (3, 4, 2, 2)
    assert (train.skipped, train.mapped) == (0, 1)
    assert (dev.split, dev.speakers, dev.utterances, dev.hours, dev.skipped) == ("dev", 0, 0, 0.0, 1)


def test_json_has_all_of_it(corpus: Corpus) -> None:
    table = json.loads(json.dumps(as_json(corpus)))
    assert table["digest"] == corpus.digest and table["language"] == "en"
    assert [row["split"] for row in table["splits"]] == ["train", "dev"]
    assert (table["skipped"][0]["reason"], table["mapped"][0]["source"]) == ("too long", "m:1")
    assert table["shared_speakers"] == {}
