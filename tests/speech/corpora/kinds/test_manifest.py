"""Corpora of kind "manifest": what is taken, what is skipped and said, what stops everything."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speech.audio import read_audio
from speech.corpora.corpus import Corpus
from speech.corpora.loading import load_corpus
from speech.errors import CorpusError

RATE_HZ = 16_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    wave = np.random.default_rng(0).normal(0, 0.1, RATE_HZ)
    soundfile.write(tmp_path / "a.flac", wave, RATE_HZ)
    soundfile.write(tmp_path / "b.wav", wave, RATE_HZ)
    (tmp_path / "broken.wav").write_bytes(b"no sound at all")
    return tmp_path


def entry(**changes: Any) -> dict[str, Any]:
    return {
        "audio_filepath": "a.flac",
        "duration": 1.0,
        "text": "Hello there!",
        "speaker": "ann",
        **changes,
    }


def load(folder: Path, *entries: Any, **options: Any) -> Corpus:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in entries]
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    return load_corpus("manifest", folder, **options)


def reasons(corpus: Corpus) -> list[str]:
    return [skipped.reason for skipped in corpus.skipped]


GOOD = entry(id="good", audio_filepath="b.wav")


def test_a_line_becomes_an_utterance(folder: Path) -> None:
    corpus = load(folder, entry(offset=0.25, duration=0.5, split="dev", id="x", gender="f"))
    (utterance,) = corpus.utterances("dev", "ann")
    assert utterance.id == "x"
    assert utterance.text == "hello there"
    assert (utterance.offset_seconds, utterance.duration_seconds) == (0.25, 0.5)
    assert utterance.source == f"{folder / 'manifest.jsonl'}:1"
    wave = read_audio(utterance.audio, offset_seconds=0.25, duration_seconds=0.5)
    assert len(wave) == RATE_HZ // 2


def test_defaults(folder: Path) -> None:
    corpus = load(folder, entry(speaker=17, duration=None), "", entry(offset=0.5, duration=0.5))
    (utterance,) = corpus.utterances("train", "17")
    assert utterance.id == "a.flac"
    assert utterance.duration_seconds == 1.0
    assert corpus.utterances("train", "ann")[0].id == "a.flac@0.5"


def test_utterances_far_into_a_long_file_have_ids_of_their_own(folder: Path) -> None:
    offsets = (9_999.1234, 12_000, 12_345.12, 12_345.16, 1_234_567.25)
    corpus = load(folder, *(entry(offset=offset, duration=0.03) for offset in offsets))
    assert not corpus.skipped
    ids = [utterance.id.partition("@")[2] for utterance in corpus.all_utterances()]
    # The first two as ever: ids name the data set.
    assert ids == ["9999.12", "12000", "12345.12", "12345.16", "1234567.25"]


def test_the_path_may_be_the_file_and_audio_absolute(folder: Path, tmp_path: Path) -> None:
    load(folder, entry(audio_filepath=str(folder / "a.flac")))
    corpus = load_corpus("manifest", folder / "manifest.jsonl")
    assert corpus.utterances("train", "ann")[0].audio == folder / "a.flac"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"text": ""}, "transcript is empty"),
        ({"text": " ?! "}, "transcript is empty"),
        ({"text": "room 12"}, "has '12'"),
        ({"audio_filepath": "absent.flac"}, "no such audio file"),
        ({"audio_filepath": "absent.flac", "duration": None}, "no such audio file"),
        ({"audio_filepath": "broken.wav", "duration": None}, "cannot be read as audio"),
        ({"duration": 31}, "31 s is longer than max_seconds=30"),
        ({"duration": 0}, "its duration is 0 s"),
        ({"duration": None, "offset": 2.0}, "its duration is -1 s"),
        ({"id": "good"}, "used before, at .*:1"),
    ],
)
def test_one_bad_utterance_is_skipped_and_listed(folder: Path, changes: dict[str, Any], reason: str) -> None:
    corpus = load(folder, GOOD, entry(**changes))
    assert len(corpus.utterances("train", "ann")) == 1
    (skipped,) = corpus.skipped
    assert skipped.source.endswith("manifest.jsonl:2")
    assert (skipped.split, skipped.speaker) == ("train", "ann")
    assert re.search(reason, skipped.reason), skipped.reason


def test_an_id_of_another_speakers_costs_neither_an_utterance(folder: Path) -> None:
    """Or one person's speech would decide what of another's is trained on."""
    mine, hers = entry(id="1"), entry(id="1", speaker="bea")
    for rows in ((mine, hers), (hers, mine), (mine, entry(id="bea/1"), hers)):
        corpus = load(folder, *rows)
        assert len(corpus.utterances("train", "bea")) == 1 and corpus.skipped == ()
        assert len({u.id for u in corpus.all_utterances()}) == len(rows)
    assert [u.id for u in load(folder, hers).all_utterances()] == ["1"]


@pytest.mark.parametrize("key", ["speaker", "split"])
def test_a_name_that_cannot_be_written_down_costs_its_own_utterance(folder: Path, key: str) -> None:
    """Half a character in one name would keep the node from telling, or hashing, any."""
    corpus = load(folder, GOOD, entry(**{key: "ann\ud800"}))
    assert corpus.splits == ("train",) and corpus.speakers("train") == ("ann",)
    assert reasons(corpus)[0] == "its split or its speaker is no Unicode text"
    assert all(f"{one.split}{one.speaker}".encode() for one in corpus.skipped)  # it can be written


def test_foreign_characters_are_mapped_and_counted_by_choice(folder: Path) -> None:
    rows = (GOOD, entry(id="b", text="Room 12, мир"), entry(id="c", text="12"))
    corpus = load(folder, *rows, unspelled="map")
    assert [u.text for u in corpus.utterances("train", "ann")] == ["hello there", "room"]
    (mapped,) = corpus.mapped
    assert mapped.source.endswith("manifest.jsonl:2")
    assert mapped.reason == "the transcript has '12мир', outside the 29 characters"
    assert reasons(corpus) == ["the transcript is empty"]
    assert load(folder, *rows).mapped == ()


def test_a_language_keeps_its_letters(folder: Path) -> None:
    corpus = load(folder, entry(text="„Süß“ – Straße!"), language="de")
    assert [u.text for u in corpus.utterances("train", "ann")] == ["süß straße"]
    assert corpus.language == "de"


def test_a_line_of_another_language_is_refused(folder: Path) -> None:
    assert load(folder, entry(lang="en-US"), GOOD).language == "en"
    with pytest.raises(
        CorpusError, match=r"manifest\.jsonl:1: its 'lang' is 'de', and the language of the corpus"
    ):
        load(folder, entry(lang="de"), GOOD)


def test_a_speaker_without_usable_speech_is_dropped_and_listed(folder: Path) -> None:
    corpus = load(folder, GOOD, entry(speaker="bob", text=""), entry(speaker="bob", duration=99))
    assert corpus.speakers("train") == ("ann",)
    assert len(corpus.skipped) == 3
    assert reasons(corpus)[-1] == "speaker 'bob' of split 'train' has no usable utterance"


def test_nothing_left_at_all(folder: Path) -> None:
    with pytest.raises(CorpusError, match=r"no usable utterance.*manifest\.jsonl:1"):
        load(folder, entry(text=""))
    with pytest.raises(CorpusError, match="no usable utterance"):
        load(folder, "")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"audio_filepath": ', "is not JSON"),
        ("a.flac hello", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('{"speaker": 1' + "0" * 5000 + "}", "is not JSON"),
        ("[1, 2]", "is list, not a JSON object"),
        (entry(text=None), "has no 'text'"),
        (entry(speaker=None), "has no 'speaker'"),
        (entry(audio_filepath=None), "has no 'audio_filepath'"),
        (entry(speaker=""), "'speaker' is empty"),
        (entry(speaker=["a"]), "'speaker' is"),
        (entry(text=True), "'text' is True"),
        (entry(duration="long"), "'duration' is 'long'"),
        (entry(duration=float("nan")), "'duration' is nan"),
        (entry(offset=float("inf")), "'offset' is inf"),
        (entry(offset=-1), "'offset' is -1"),
        (entry(duration=10**400), "'duration' is 10+; a number of seconds"),
        (entry(duration=-2.5), "'duration' is -2.5"),
    ],
)
def test_a_broken_line_stops_with_file_and_line(folder: Path, line: Any, reason: str) -> None:
    with pytest.raises(CorpusError, match=reason) as caught:
        load(folder, GOOD, line, entry(id="third"))
    assert f"{folder / 'manifest.jsonl'}:2" in str(caught.value)


def test_a_manifest_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"absent\.jsonl: cannot be read"):
        load_corpus("manifest", tmp_path / "absent.jsonl")
    with pytest.raises(CorpusError, match="needs a path"):
        load_corpus("manifest", "")
    (tmp_path / "manifest.jsonl").write_bytes(b"\n{\xff}\n")
    with pytest.raises(CorpusError, match=r"manifest\.jsonl:2: is not UTF-8"):
        load_corpus("manifest", tmp_path)


def test_no_audio_is_opened_when_the_manifest_tells_durations(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise RuntimeError("opened")

    monkeypatch.setattr(soundfile, "SoundFile", refuse)
    assert load(folder, GOOD).speakers("train") == ("ann",)
