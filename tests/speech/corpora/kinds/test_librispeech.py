"""Corpora of kind "librispeech": LibriSpeech's own layout on disk."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speech.corpora.loading import load_corpus
from speech.errors import CorpusError

RATE_HZ = 16_000


def chapter(root: Path, subset: str, speaker: str, lines: dict[str, str], number: str = "7") -> Path:
    folder = root / subset / speaker / number
    folder.mkdir(parents=True)
    text = ""
    for index, words in lines.items():
        id = f"{speaker}-{number}-{index}"
        soundfile.write(folder / f"{id}.flac", np.full(RATE_HZ // 2, 0.1), RATE_HZ)
        text += f"{id} {words}\n"
    (folder / f"{speaker}-{number}.trans.txt").write_text(text)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    library = tmp_path / "LibriSpeech"
    chapter(library, "train-clean-100", "103", {"0000": "CHAPTER ONE", "0001": "MISSUS LYNDE'S"})
    chapter(library, "train-clean-100", "103", {"0000": "AGAIN"}, number="8")
    chapter(library, "train-other-500", "20", {"0000": "YES"})
    chapter(library, "dev-clean", "84", {"0000": "NO"})
    chapter(library, "test-other", "1688", {"0000": "THERE'S IRON THEY SAY"})
    (library / "SPEAKERS.TXT").write_text("; as in the real one\n")
    (library / "doc").mkdir()
    return library


def test_the_splits_are_the_subsets_families(root: Path) -> None:
    corpus = load_corpus("librispeech", root)
    assert corpus.splits == ("dev", "test", "train")
    assert corpus.speakers("train") == ("103", "20")
    texts = [utterance.text for utterance in corpus.utterances("train", "103")]
    assert texts == ["chapter one", "missus lynde's", "again"]
    (utterance,) = corpus.utterances("test", "1688")
    assert (utterance.id, utterance.duration_seconds) == ("1688-7-0000", 0.5)
    assert utterance.source.endswith("1688-7.trans.txt:1")
    assert corpus.skipped == ()


def test_one_subset_alone(root: Path) -> None:
    assert load_corpus("librispeech", root / "train-clean-100").speakers("train") == ("103",)


def test_missing_and_broken_audio_is_skipped_with_its_line(root: Path) -> None:
    folder = root / "train-clean-100" / "103" / "7"
    (folder / "103-7-0000.flac").unlink()
    (folder / "103-7-0001.flac").write_bytes(b"nothing")
    (root / "dev-clean" / "84" / "7" / "84-7-0000.flac").unlink()
    corpus = load_corpus("librispeech", root)
    assert [u.text for u in corpus.utterances("train", "103")] == ["again"]
    assert "dev" not in corpus.splits
    sources = [Path(skipped.source).name for skipped in corpus.skipped]
    assert sources == ["84-7.trans.txt:1", "103-7.trans.txt:1", "103-7.trans.txt:2", "84-7.trans.txt:1"]
    assert corpus.skipped[-1].reason == "speaker '84' of split 'dev' has no usable utterance"


def test_too_long_and_empty_are_skipped(root: Path) -> None:
    transcripts = root / "dev-clean" / "84" / "7" / "84-7.trans.txt"
    transcripts.write_text("84-7-0000\n")
    corpus = load_corpus("librispeech", root)
    assert corpus.skipped[0].reason == "the transcript is empty"
    with pytest.raises(CorpusError, match=r"longer than max_seconds=0\.1"):
        load_corpus("librispeech", root / "test-other", max_seconds=0.1)


def test_a_folder_that_is_no_librispeech(tmp_path: Path, root: Path) -> None:
    with pytest.raises(CorpusError, match="no such folder"):
        load_corpus("librispeech", tmp_path / "absent")
    with pytest.raises(CorpusError, match="holds no subset"):
        load_corpus("librispeech", tmp_path)
    with pytest.raises(CorpusError, match="needs a path"):
        load_corpus("librispeech", "")
    (root / "dev-clean" / "84" / "7" / "84-7.trans.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(CorpusError, match=r"84-7\.trans\.txt"):
        load_corpus("librispeech", root)
