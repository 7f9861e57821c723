"""speech.corpora.manifest_writer: any corpus as a manifest, its audio in place or converted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speech.audio import read_audio
from speech.corpora.corpus import Corpus
from speech.corpora.loading import load_corpus
from speech.corpora.manifest_writer import convert, write_manifest
from speech.corpora.speakers import shuffle_speakers
from speech.errors import CorpusError
from tests.speech import layouts

ROWS = {"train": [("ann", "Süß!"), ("bob", "Room 12"), ("bob", "ja")], "test": [("eve", "nein")]}


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    folder = layouts.common_voice(tmp_path / "de", ROWS, locale="de")
    return load_corpus("commonvoice", folder, language="de", unspelled="map")


def test_the_prepared_corpus_is_the_one_that_it_came_from(corpus: Corpus, tmp_path: Path) -> None:
    manifest = write_manifest(corpus, tmp_path / "out")
    prepared = load_corpus("manifest", manifest, language="de")
    assert prepared.digest == corpus.digest
    assert {u.audio for u in prepared.all_utterances()} == {u.audio for u in corpus.all_utterances()}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["manifest.jsonl"]
    with pytest.raises(CorpusError, match="its 'lang' is 'de', and the language of the corpus is 'en'"):
        load_corpus("manifest", manifest)
    with pytest.raises(CorpusError, match=r"manifest\.jsonl exists"):
        write_manifest(corpus, tmp_path / "out")


@pytest.mark.parametrize("workers", [1, 2])
def test_converted_audio_is_flac_beside_the_manifest(corpus: Corpus, tmp_path: Path, workers: int) -> None:
    out = tmp_path / "out"
    done: list[None] = []
    converted = convert(corpus, out, workers=workers, progress=lambda: done.append(None))
    prepared = load_corpus("manifest", write_manifest(converted, out), language="de")
    assert prepared.digest == corpus.digest and len(done) == 4
    for before, after in zip(corpus.all_utterances(), prepared.all_utterances(), strict=True):
        info = soundfile.info(after.audio)
        assert (info.format, info.samplerate, info.channels) == ("FLAC", 16_000, 1)
        assert after.audio.is_relative_to(out) and after.duration_seconds == pytest.approx(info.duration)
        np.testing.assert_allclose(read_audio(after.audio), read_audio(before.audio), atol=1e-4)
    assert '"audio/' in (out / "manifest.jsonl").read_text()
    moved = out.rename(tmp_path / "moved")
    assert load_corpus("manifest", moved, language="de").digest == corpus.digest


def test_a_segment_becomes_a_file_of_its_own(tmp_path: Path) -> None:
    layouts.sound(tmp_path / "long.wav", 3.0)
    (tmp_path / "manifest.jsonl").write_text(
        '{"audio_filepath": "long.wav", "offset": 1, "duration": 0.5, "text": "one", "speaker": "s"}\n'
        '{"audio_filepath": "long.wav", "offset": 9, "duration": 0.5, "text": "two", "speaker": "s"}\n'
    )
    corpus = load_corpus("manifest", tmp_path)
    converted = convert(corpus, tmp_path / "out")
    (utterance,) = converted.all_utterances()
    assert (utterance.offset_seconds, utterance.duration_seconds) == (0.0, 0.5)
    whole = read_audio(tmp_path / "long.wav")
    np.testing.assert_allclose(read_audio(utterance.audio), whole[16_000:24_000], atol=1e-4)
    assert "past the end" in converted.skipped[0].reason


def test_an_interrupted_conversion_goes_on(corpus: Corpus, tmp_path: Path) -> None:
    first = next(convert(corpus, tmp_path / "out").all_utterances()).audio
    made = first.stat().st_mtime_ns
    second = list(convert(corpus, tmp_path / "out").all_utterances())[1].audio
    second.unlink()
    again = list(convert(corpus, tmp_path / "out").all_utterances())
    assert again[1].audio.is_file() and first.stat().st_mtime_ns == made


def test_what_changed_at_the_source_is_converted_again(tmp_path: Path) -> None:
    layouts.sound(tmp_path / "long.wav", 3.0)
    whole = read_audio(tmp_path / "long.wav").numpy()

    def converted(offset: float) -> np.ndarray:
        line = '{"audio_filepath": "long.wav", "duration": 0.5, "text": "one", "speaker": "s", "id": "u"'
        (tmp_path / "manifest.jsonl").write_text(f'{line}, "offset": {offset}}}\n')
        (utterance,) = convert(load_corpus("manifest", tmp_path), tmp_path / "out").all_utterances()
        return read_audio(utterance.audio).numpy()

    np.testing.assert_allclose(converted(1.0), whole[16_000:24_000], atol=1e-4)
    np.testing.assert_allclose(converted(2.0), whole[32_000:40_000], atol=1e-4)
    soundfile.write(tmp_path / "long.wav", whole[::-1], 16_000)
    np.testing.assert_allclose(converted(2.0), whole[::-1][32_000:40_000], atol=1e-4)


def test_nothing_is_converted_beside_a_manifest(corpus: Corpus, tmp_path: Path) -> None:
    write_manifest(corpus, tmp_path / "out")
    with pytest.raises(CorpusError, match=r"manifest\.jsonl exists"):
        convert(corpus, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["manifest.jsonl"]


@pytest.mark.parametrize("workers", [1, 2])
def test_sound_that_lies_in_no_file_must_be_converted(tmp_path: Path, workers: int) -> None:
    whole = load_corpus("synthetic", "1x2")
    corpus = replace(whole, table={"train": whole.table["train"]})
    for made in (corpus, shuffle_speakers(corpus, split="train", seed=0)):
        with pytest.raises(CorpusError, match=r"'train-0000000-00' is no file .* prepare --flac"):
            write_manifest(made, tmp_path / "out")
    converted = convert(corpus, tmp_path / "out", workers=workers)
    write_manifest(converted, tmp_path / "out")
    said = load_corpus("manifest", tmp_path / "out").utterances("train", "train-0000000")
    assert [u.text for u in said] == [u.text for u in corpus.utterances("train", "train-0000000")]
    first = corpus.recording(corpus.utterances("train", "train-0000000")[0].audio)
    expected = first.segment(0.0, said[0].duration_seconds)
    np.testing.assert_allclose(read_audio(said[0].audio), expected, atol=1e-4)


def test_a_full_disk_is_an_error_and_leaves_no_half_file(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: Path, *arguments: object, **options: object) -> None:
        Path(file).write_bytes(b"half")
        raise soundfile.LibsndfileError(2)

    monkeypatch.setattr(soundfile, "write", full)
    with pytest.raises(OSError, match=r"cannot be written .* is the disk full"):
        convert(corpus, tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
