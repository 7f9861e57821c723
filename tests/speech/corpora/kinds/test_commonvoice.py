"""Corpora of kind "commonvoice": Mozilla's TSV files and clips, with what is odd in them."""

from pathlib import Path

import pytest

from base.registries import MODEL_PRESETS
from speech.corpora.loading import load_corpus
from speech.data.examples import ExampleStore
from speech.errors import CorpusError
from tests.speech import layouts

ANN, BEA, CAT = "a" * 128, "b" * 128, "c" * 128
ROWS = {
    "train": [(ANN, '"Yes," she said.'), (ANN, 'One " quote'), (BEA, "Line\u2028separator and\x85more")],
    "dev": [(BEA + "x", "Room 12")],
    "test": [(CAT, "Don’t!")],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return layouts.common_voice(tmp_path / "cv-corpus-13.0-2023-03-09" / "en", ROWS)


def test_the_official_splits_by_client_id_and_nothing_is_quoted(folder: Path) -> None:
    corpus = load_corpus("commonvoice", folder, unspelled="map")
    assert corpus.splits == ("dev", "test", "train")
    assert [u.text for u in corpus.utterances("train", ANN)] == ["yes she said", "one quote"]
    assert [u.text for u in corpus.utterances("train", BEA)] == ["line separator and more"]
    assert [u.text for u in corpus.utterances("test", CAT)] == ["don't"]
    assert len(corpus.mapped) == 1 and corpus.skipped == ()
    (utterance,) = corpus.utterances("test", CAT)
    assert utterance.duration_seconds == pytest.approx(0.5, abs=0.05)
    assert utterance.source == f"{folder / 'test.tsv'}:2"
    examples = ExampleStore(corpus, MODEL_PRESETS["tiny"].features).examples(
        "test", CAT
    )  # MP3 at 32 kHz is read
    assert examples[0].features.shape[0] == pytest.approx(50, abs=6)


def test_a_row_with_a_tab_in_its_text_and_a_missing_clip_are_skipped(folder: Path) -> None:
    table = folder / "train.tsv"
    table.write_text(table.read_text().replace("One ", "One\t"), newline="\n")
    (folder / "clips" / "common_voice_en_train2.mp3").unlink()
    corpus = load_corpus("commonvoice", folder)
    reasons = {Path(s.source).name: s.reason for s in corpus.skipped if s.split == "train"}
    assert reasons["train.tsv:3"] == "has 12 fields and not 11"
    assert "no such audio file" in reasons["train.tsv:4"] or "no usable" in reasons["train.tsv:4"]
    assert corpus.speakers("train") == (ANN,)


def test_one_table_is_the_split_of_its_name(folder: Path) -> None:
    (folder / "dev.tsv").rename(folder / "validated.tsv")
    corpus = load_corpus("commonvoice", folder / "validated.tsv", unspelled="map")
    assert corpus.splits == ("validated",)


def test_its_other_columns_are_fields_where_they_are_asked_for(folder: Path) -> None:
    table = folder / "test.tsv"
    header, row = table.read_text().splitlines()
    values = dict(zip(header.split("\t"), row.split("\t"), strict=True)) | {"accents": "Scottish English"}
    table.write_text(header + "\n" + "\t".join(values.values()) + "\n", newline="\n")
    corpus = load_corpus("commonvoice", folder, keep_fields=("accents", "age"))
    (utterance,) = corpus.utterances("test", CAT)
    assert utterance.fields == (("accents", "Scottish English"),)


def test_durations_are_taken_from_the_table_where_there_is_one(folder: Path) -> None:
    durations = folder / "clip_durations.tsv"
    durations.write_text("clip\tduration[ms]\ncommon_voice_en_test0.mp3\t4321\n")
    (utterance,) = load_corpus("commonvoice", folder).utterances("test", CAT)
    assert utterance.duration_seconds == 4.321
    durations.write_text("clip\tduration[ms]\nx.mp3\tlong\n")
    with pytest.raises(CorpusError, match=r"clip_durations\.tsv:2: 'long' is no number"):
        load_corpus("commonvoice", folder)


@pytest.mark.parametrize(
    ("language", "said", "text"),
    [("de", "„Süße Äpfel“ – ẞ", "süße äpfel ß"), ("fr", "« L’Œuvre » : où ?", "l'œuvre où")],
)
def test_other_languages(tmp_path: Path, language: str, said: str, text: str) -> None:
    folder = layouts.common_voice(tmp_path, {"train": [(ANN, said)]}, locale=language)
    corpus = load_corpus("commonvoice", folder, language=language)
    assert [u.text for u in corpus.utterances("train", ANN)] == [text]
    with pytest.raises(CorpusError, match=f"has locale '{language}', and the language of the corpus is 'en'"):
        load_corpus("commonvoice", folder)


def test_what_is_no_common_voice(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"has no train\.tsv"):
        load_corpus("commonvoice", tmp_path)
    with pytest.raises(CorpusError, match="needs a path"):
        load_corpus("commonvoice", "")
    (tmp_path / "train.tsv").write_text("client_id,path,sentence\n")
    with pytest.raises(CorpusError, match=r"train\.tsv:1: has no column 'client_id'"):
        load_corpus("commonvoice", tmp_path)
    (tmp_path / "train.tsv").write_bytes(b"client_id\tpath\tsentence\na\tb\t\xff\n")
    with pytest.raises(CorpusError, match=r"train\.tsv:2: is not UTF-8"):
        load_corpus("commonvoice", tmp_path)
