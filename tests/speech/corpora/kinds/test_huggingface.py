"""Corpora of kind "huggingface": data sets saved on disk, their audio inside or beside them."""

import sys
from pathlib import Path

import datasets
import pytest

from speech.corpora.corpus import Rules
from speech.corpora.kinds.huggingface import load_extracted
from speech.corpora.loading import load_corpus
from speech.errors import CorpusError
from speech.sound_files import audio_duration_seconds
from tests.speech import layouts

STORED = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}


def saved(folder: Path, *, inside: bool, splits: bool = True, first: float = 0.5, **columns: list) -> Path:
    """Two rows of different speakers a split, the `first` of so many seconds."""
    sounds = [layouts.sound(folder / f"{number}.flac", length) for number, length in enumerate((first, 1.5))]
    audio = [{"path": str(file), "bytes": file.read_bytes() if inside else None} for file in sounds]
    rows = {"audio": audio, "sentence": ["Yes!", "No"], "speaker_id": [7, 8], **columns}
    rows = {name: values for name, values in rows.items() if values}
    features = {"audio": STORED} if "audio" in rows else {}
    features |= {
        name: datasets.Value("int64" if isinstance(values[0], int) else "string")
        for name, values in rows.items()
        if name != "audio"
    }
    table = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
    if "audio" in rows:
        table = table.cast_column("audio", datasets.Audio(sampling_rate=16_000))
    out = folder / "saved"
    (datasets.DatasetDict({"train": table, "validation": table}) if splits else table).save_to_disk(out)
    return out


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save as releases of `datasets` did that left sound files where they were."""
    monkeypatch.setattr(datasets.Audio, "embed_storage", lambda self, storage, **options: storage)


@pytest.mark.usefixtures("beside")
def test_audio_that_lies_in_files(tmp_path: Path) -> None:
    corpus = load_corpus("huggingface", saved(tmp_path, inside=False))
    assert (corpus.splits, corpus.speakers("dev")) == (("dev", "train"), ("7", "8"))
    (utterance,) = corpus.utterances("train", "8")
    assert (utterance.text, utterance.duration_seconds, utterance.id) == ("no", 1.5, "train-1")
    assert utterance.audio == tmp_path / "1.flac"


def test_audio_inside_is_written_out_once(tmp_path: Path) -> None:
    path = saved(tmp_path, inside=True, splits=False, id=["u1", "u2"])
    with pytest.raises(
        CorpusError, match="inside the Arrow files; write it to files with `murmur corpus prepare"
    ):
        load_corpus("huggingface", path)
    corpus = load_extracted(str(path), tmp_path / "out", Rules())
    (utterance,) = corpus.utterances("train", "7")
    assert (utterance.id, utterance.audio.parent) == ("train-u1", tmp_path / "out" / "train")
    assert utterance.audio.suffix == ".flac"
    assert utterance.audio.read_bytes() == (tmp_path / "0.flac").read_bytes()
    written = utterance.audio.stat().st_mtime_ns
    (other,) = corpus.utterances("train", "8")
    other.audio.write_bytes((tmp_path / "1.flac").read_bytes()[:-1] + b"x")
    again = load_extracted(str(path), tmp_path / "out", Rules())
    assert again.digest == corpus.digest and not again.skipped
    assert utterance.audio.stat().st_mtime_ns == written
    assert other.audio.read_bytes() == (tmp_path / "1.flac").read_bytes()


def test_corrected_audio_leaves_the_earlier_file_to_the_earlier_manifest(tmp_path: Path) -> None:
    path = saved(tmp_path / "old", inside=True, splits=False)
    corrected = saved(tmp_path / "new", inside=True, splits=False, first=2.0)
    before, after = (
        load_extracted(str(data), tmp_path / "out", Rules()).utterances("train", "7")[0]
        for data in (path, corrected)
    )
    assert before.id == after.id
    assert (audio_duration_seconds(before.audio), audio_duration_seconds(after.audio)) == (0.5, 2.0)


def test_ids_may_restart_in_each_split(tmp_path: Path) -> None:
    path = saved(tmp_path, inside=True, id=[0, 1])
    corpus = load_extracted(str(path), tmp_path / "out", Rules())
    ids = sorted(utterance.id for utterance in corpus.all_utterances())
    assert ids == ["dev-0", "dev-1", "train-0", "train-1"] and not corpus.skipped


@pytest.mark.usefixtures("beside")
def test_a_row_without_a_speaker_is_skipped(tmp_path: Path) -> None:
    path = saved(tmp_path, inside=False, splits=False, speaker_id=[], speaker=["ann", None])
    corpus = load_corpus("huggingface", path)
    assert [(s.source, s.reason) for s in corpus.skipped] == [(f"{path}[train]:1", "has no speaker")]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"speaker_id": []}, "none of the columns speaker_id, speaker, client_id; it has audio, sentence"),
        ({"sentence": []}, "none of the columns text, sentence"),
        ({"audio": []}, "none of the columns audio"),
    ],
)
def test_a_missing_column_is_named(tmp_path: Path, columns: dict[str, list], message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        load_corpus("huggingface", saved(tmp_path, inside=False, **columns))


def test_what_is_no_saved_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(CorpusError, match="is no data set saved by save_to_disk"):
            load_corpus("huggingface", path)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(CorpusError, match=r"pip install 'murmuration\[huggingface\]'"):
        load_corpus("huggingface", tmp_path)
