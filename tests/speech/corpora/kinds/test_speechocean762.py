"""Corpora of kind "speechocean762": WAVE/ and the Kaldi tables of openslr.org/101."""

from pathlib import Path

import pytest

from speech.corpora.loading import load_corpus
from speech.errors import CorpusError
from tests.speech import layouts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = {"train": [("0001", "WE CALL IT BEAR"), ("0003", "IT'S MINE")], "test": [("0024", "GOOD")]}
    return layouts.speechocean762(tmp_path / "speechocean762", rows)


def test_the_official_splits(folder: Path) -> None:
    corpus = load_corpus("speechocean762", folder)
    assert (corpus.splits, corpus.speakers("train")) == (("test", "train"), ("0001", "0003"))
    (utterance,) = corpus.utterances("train", "0003")
    assert (utterance.text, utterance.duration_seconds) == ("it's mine", 0.5)
    assert utterance.audio == folder / "WAVE" / "SPEAKER0003" / "0003train1.WAV"


def test_broken_audio_is_skipped(folder: Path) -> None:
    (folder / "WAVE" / "SPEAKER0001" / "0001train0.WAV").write_bytes(b"")
    corpus = load_corpus("speechocean762", folder)
    assert corpus.speakers("train") == ("0003",)
    assert "cannot be read as audio" in corpus.skipped[0].reason


def test_tables_that_do_not_agree_stop_it(folder: Path) -> None:
    table = folder / "train" / "utt2spk"
    rows = table.read_text()
    table.write_text(rows.splitlines()[0] + "\n")
    with pytest.raises(CorpusError, match=r"text:2: utterance '0003train1' is not in .*utt2spk"):
        load_corpus("speechocean762", folder)
    table.write_text(rows * 2)
    with pytest.raises(CorpusError, match=r"utt2spk:3: '0001train0' was used before, at .*utt2spk:1"):
        load_corpus("speechocean762", folder)


def test_what_is_no_speechocean762(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="has no folder WAVE"):
        load_corpus("speechocean762", tmp_path)
    with pytest.raises(CorpusError, match="needs a path"):
        load_corpus("speechocean762", "")
    (tmp_path / "WAVE").mkdir()
    with pytest.raises(CorpusError, match="text: cannot be read"):
        load_corpus("speechocean762", tmp_path)
