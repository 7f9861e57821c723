"""Files as users have them: used, skipped and counted, or refused; never a crash in training."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from base.registries import MODEL_PRESETS
from speech import sound_files
from speech.audio import AudioStream, Recording, read_audio
from speech.corpora.corpus import Corpus
from speech.corpora.loading import load_corpus
from speech.data.examples import ExampleStore
from speech.errors import AudioError, CorpusError
from tests.speech.layouts import sound

TINY = MODEL_PRESETS["tiny"].features


def corpus_of(folder: Path, *files: str, **changes: object) -> Corpus:
    """Speaker "s" reads every file; a good one, "good.flac", is always there."""
    sound(folder / "good.flac", 1.0)
    rows = [{"audio_filepath": name, "text": "yes", "speaker": "s", **changes} for name in files]
    rows.insert(0, {"audio_filepath": "good.flac", "text": "yes", "speaker": "s"})
    (folder / "manifest.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return load_corpus("manifest", folder)


def usable(corpus: Corpus) -> tuple[list[str], list[str]]:
    """Ids that became examples, and the reasons of what was skipped, in the loader or after."""
    store = ExampleStore(corpus, TINY)
    ids = [example.id for example in store.examples("train", "s")]
    return ids, [skipped.reason for skipped in (*corpus.skipped, *store.skipped)]


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_wav_of_any_depth(tmp_path: Path, subtype: str) -> None:
    wave = 0.5 * np.sin(np.arange(16_000) / 10)
    soundfile.write(tmp_path / "a.wav", wave, 16_000, subtype=subtype)
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), wave, atol=0.02)
    assert usable(corpus_of(tmp_path, "a.wav")) == (["good.flac", "a.wav"], [])


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_rates_and_channels(tmp_path: Path, rate_hz: int, channels: int) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (rate_hz, channels))
    soundfile.write(tmp_path / "a.wav", noise, rate_hz)
    store = ExampleStore(corpus_of(tmp_path, "a.wav"), TINY)
    good, other = store.examples("train", "s")
    assert abs(len(good.features) - len(other.features)) <= 1


def test_a_wrong_extension_is_read_by_what_is_inside(tmp_path: Path) -> None:
    sound(tmp_path / "a.flac").rename(tmp_path / "a.wav")
    soundfile.write(tmp_path / "b.mp3", np.zeros(16_000) + 0.1, 16_000, format="WAV")
    assert usable(corpus_of(tmp_path, "a.wav", "b.mp3")) == (["good.flac", "a.wav", "b.mp3"], [])


def test_zero_length_and_truncated_and_no_sound(tmp_path: Path) -> None:
    (tmp_path / "empty.flac").write_bytes(b"")
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 16_000)
    (tmp_path / "text.wav").write_text("this is no sound")
    for name in ("cut.flac", "cut.mp3", "cut.ogg"):
        whole = sound(tmp_path / name, 2.0).read_bytes()
        (tmp_path / name).write_bytes(whole[:60])
    names = ["empty.flac", "none.wav", "text.wav", "cut.flac", "cut.mp3", "cut.ogg"]
    ids, reasons = usable(corpus_of(tmp_path, *names))
    assert ids == ["good.flac"] and len(reasons) == len(names)
    for name in names:
        assert any(name in reason for reason in reasons) or name == "none.wav"


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_half_a_file_is_read_or_skipped_but_is_never_garbage(tmp_path: Path, suffix: str) -> None:
    """What can be decoded of half a file is of the sound that was there, and nothing after it."""
    file = tmp_path / f"a.{suffix}"
    sound(file, 2.0)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    corpus = corpus_of(tmp_path, file.name)
    ids, reasons = usable(corpus)
    assert ids[0] == "good.flac" and len(ids) + len(reasons) == 2
    if len(ids) == 2:
        wave = read_audio(file)
        assert len(wave) <= 32_000 and float(wave.abs().max()) < 1


@pytest.mark.parametrize("suffix", ["wav", "mp3"])
def test_a_file_that_is_shorter_than_its_header_is_refused_and_its_segments_are_not(
    tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"a.{suffix}"
    sound(file, 4.0)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    ids, reasons = usable(corpus_of(tmp_path, file.name))
    assert ids == ["good.flac"] and len(reasons) == 1
    for read in (lambda: read_audio(file), lambda: AudioStream(file).read(64_000)):
        with pytest.raises(
            AudioError, match=r"is cut off: (1\.9|2\.\d) s of the length in its header are missing"
        ):
            read()
    ids, reasons = usable(corpus_of(tmp_path, file.name, offset=0.5, duration=1.0))
    assert len(ids) == 2 and reasons == []


def test_a_wav_file_from_a_pipe_does_not_know_its_size(tmp_path: Path) -> None:
    file = sound(tmp_path / "a.wav", 1.0)
    content = bytearray(file.read_bytes())
    content[4:8] = content[40:44] = b"\xff" * 4
    file.write_bytes(content)
    assert len(read_audio(file)) == 16_000 and len(AudioStream(file).read(64_000)) == 16_000


def test_samples_that_are_not_numbers_lose_their_utterance(tmp_path: Path) -> None:
    for name, value in (("nan.wav", np.nan), ("inf.wav", np.inf)):
        soundfile.write(tmp_path / name, np.full(16_000, value), 16_000, subtype="FLOAT")
    ids, reasons = usable(corpus_of(tmp_path, "nan.wav", "inf.wav"))
    assert ids == ["good.flac"]
    assert all("NaN or infinite" in reason for reason in reasons) and len(reasons) == 2


def test_listed_but_missing_and_listed_twice(tmp_path: Path) -> None:
    ids, reasons = usable(corpus_of(tmp_path, "absent.wav", "good.flac"))
    assert ids == ["good.flac"]
    assert "no such audio file" in reasons[0] and "was used before, at" in reasons[1]


def test_audio_that_goes_missing_after_the_loading(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    corpus = corpus_of(tmp_path, "a.wav")
    (tmp_path / "a.wav").unlink()
    ids, reasons = usable(corpus)
    assert ids == ["good.flac"] and "a.wav: no such audio file" in reasons[0]


def test_an_unpacked_manifest_of_nemo_and_a_tarred_one(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav", 2.0)
    corpus = corpus_of(tmp_path, "a.wav", offset=0.5, duration=1.0)
    assert usable(corpus) == (["good.flac", "a.wav@0.5"], [])
    with pytest.raises(CorpusError, match=r"manifest\.jsonl:2: has a 'shard_id'.*unpack them"):
        corpus_of(tmp_path, "a.wav", shard_id=3)


def test_two_hours_are_read_in_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never more of a long WAV or FLAC file in memory than a segment, and the right one."""
    rate_hz, seconds = 8_000, 7_200
    with soundfile.SoundFile(tmp_path / "two-hours.wav", "w", rate_hz, 1, subtype="PCM_16") as file:
        for minute in range(seconds // 60):
            file.write(np.full(60 * rate_hz, minute / 200))
    decoded: list[int] = []
    blocks = sound_files._mono_blocks

    def counted(file: soundfile.SoundFile, frames: int | None):
        for block in blocks(file, frames):
            decoded.append(len(block))
            yield block

    monkeypatch.setattr(sound_files, "_mono_blocks", counted)
    recording = Recording.read(tmp_path / "two-hours.wav")
    for minute in (0, 59, 119):
        piece = recording.segment(60 * minute + 10, 20, sample_rate_hz=rate_hz)
        assert torch.allclose(piece, torch.full((20 * rate_hz,), minute / 200), atol=1e-4)
    assert sum(decoded) == 3 * 20 * rate_hz
    rows = [("two-hours.wav", 100.0, 2.0), ("two-hours.wav", 7_190.0, 2.0), ("two-hours.wav", 7_199.9, 2.0)]
    lines = [
        json.dumps({"audio_filepath": n, "offset": o, "duration": d, "text": "yes", "speaker": "s"})
        for n, o, d in rows
    ]
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines))
    ids, reasons = usable(load_corpus("manifest", tmp_path))
    assert len(ids) == 2 and "past the end" in reasons[0]
    assert "longer than max_seconds=30" in corpus_of(tmp_path, "two-hours.wav").skipped[0].reason
