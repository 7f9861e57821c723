"""speech.corpora.corpus: speakers, splits, digest, and the registry of kinds."""

from dataclasses import replace
from pathlib import Path

import pytest

from base.registries import CORPUS_KINDS
from speech.corpora.corpus import Corpus, Skipped, Utterance
from speech.corpora.loading import load_corpus
from speech.errors import CorpusError, LanguageError
from speech.text import GERMAN


def utterance(id: str, speaker: str = "ann", split: str = "train", text: str = "yes") -> Utterance:
    return Utterance(id=id, speaker=speaker, split=split, audio=Path("a.wav"), text=text, source=f"m:{id}")


ROWS = [
    utterance("3", "bob"),
    utterance("1", "ann"),
    utterance("2", "ann"),
    utterance("4", "eve", "test"),
]


def test_speakers_are_sorted_and_utterances_keep_their_order() -> None:
    corpus = Corpus.of("c", [*ROWS, utterance("0", "ann")])
    assert corpus.splits == ("test", "train")
    assert corpus.speakers("train") == ("ann", "bob")
    assert [u.id for u in corpus.utterances("train", "ann")] == ["1", "2", "0"]


def test_what_is_not_there_is_named() -> None:
    corpus = Corpus.of("c", ROWS)
    with pytest.raises(CorpusError, match="no split 'dev'; it has 'test', 'train'"):
        corpus.speakers("dev")
    with pytest.raises(CorpusError, match="no speaker 'eve'"):
        corpus.utterances("train", "eve")


def test_the_digest_names_the_data_and_not_the_place() -> None:
    digest = Corpus.of("c", ROWS).digest
    moved = [replace(row, audio=Path("elsewhere.wav"), source="n:1") for row in reversed(ROWS)]
    assert Corpus.of("other", moved).digest == digest
    assert len(digest) == 64
    for changed in (
        replace(ROWS[0], text="no"),
        replace(ROWS[0], id="9"),
        replace(ROWS[0], speaker="ann"),
        replace(ROWS[0], split="test"),
    ):
        assert Corpus.of("c", [changed, *ROWS[1:]]).digest != digest
    assert Corpus.of("c", ROWS[1:]).digest != digest


def test_a_repeated_id_names_both_places() -> None:
    with pytest.raises(CorpusError, match="n:7: the id '3' was used before, at m:3"):
        Corpus.of("c", [*ROWS, replace(ROWS[0], source="n:7")])
    with pytest.raises(CorpusError, match="used before"):
        Corpus.of("c", [ROWS[0], ROWS[0]])


def test_an_empty_corpus_is_refused_with_a_reason() -> None:
    with pytest.raises(CorpusError, match=r"2 were skipped, the first: m:1: too long"):
        Corpus.of("c", [], [Skipped(source="m:1", reason="too long")] * 2)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("speaker", ""),
        ("id", ""),
        ("split", ""),
        ("text", ""),
        ("offset_seconds", -1.0),
        ("offset_seconds", float("nan")),
        ("duration_seconds", 0.0),
        ("duration_seconds", float("nan")),
    ],
)
def test_an_utterance_is_validated_when_made(field: str, value: object) -> None:
    with pytest.raises(CorpusError, match="m:3"):
        replace(ROWS[0], **{field: value})


def test_texts_are_written_in_the_corpus_language() -> None:
    for text in ("Not Normalised", "süß"):
        with pytest.raises(CorpusError, match=r"m:5: character .* is not in the alphabet of 'en'"):
            Corpus.of("c", [*ROWS, utterance("5", text=text)])
    corpus = Corpus.of("c", [*ROWS, utterance("5", text="süß")], alphabet=GERMAN)
    assert corpus.alphabet.encode("ß") == [32]


def test_the_kinds() -> None:
    assert {"embedded", "manifest", "librispeech"} <= set(CORPUS_KINDS)
    with pytest.raises(CorpusError, match=r"unknown corpus kind 'tape'.*embedded.*librispeech"):
        load_corpus("tape", "x")
    with pytest.raises(ValueError, match="'manifest' is registered already"):
        CORPUS_KINDS.add("manifest")


def test_rules_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(LanguageError, match="unknown language 'tlh'; known are 'de', 'en', 'fr'"):
        load_corpus("manifest", tmp_path, language="tlh")
    with pytest.raises(CorpusError, match="unspelled='drop' must be 'skip' or 'map'"):
        load_corpus("manifest", tmp_path, unspelled="drop")
    with pytest.raises(CorpusError, match="embedded corpus is in English"):
        load_corpus("embedded", "", language="de")


@pytest.mark.parametrize("max_seconds", [0.0, -1.0, float("nan")])
def test_max_seconds_must_be_possible(max_seconds: float) -> None:
    with pytest.raises(CorpusError, match="max_seconds"):
        load_corpus("embedded", "", max_seconds=max_seconds)
