"""speech.audio: any file in, exact mono float32 at the asked rate out, or an error naming the file."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speech.audio import (
    AudioStream,
    Recording,
    read_audio,
    resample,
)
from speech.errors import AudioError, AudioUnavailable
from speech.sound_files import audio_duration_seconds

RATE_HZ = 16_000


def sine(frequency_hz: float, seconds: float, rate_hz: int = RATE_HZ) -> np.ndarray:
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.5 * np.sin(2 * np.pi * frequency_hz * times)).astype(np.float32)


def loudest_hz(wave: torch.Tensor) -> float:
    spectrum = torch.fft.rfft(wave * torch.hann_window(len(wave))).abs()
    return float(spectrum.argmax()) * RATE_HZ / len(wave)


@pytest.fixture
def ramp(tmp_path: Path) -> Path:
    """A file in which every sample says its own position."""
    path = tmp_path / "ramp.wav"
    soundfile.write(path, np.arange(RATE_HZ, dtype=np.float32) / RATE_HZ, RATE_HZ, subtype="FLOAT")
    return path


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 22_050, 44_100, 44_101, 48_000])
@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_any_rate_keeps_pitch_and_length(tmp_path: Path, rate_hz: int, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, sine(440, 1.0, rate_hz), rate_hz)
    wave = read_audio(path)
    assert wave.dtype == torch.float32
    assert wave.shape[0] == pytest.approx(RATE_HZ, abs=2)
    assert loudest_hz(wave) == pytest.approx(440, abs=2)


@pytest.mark.parametrize(("suffix", "subtype"), [(".ogg", "OPUS"), (".ogg", "VORBIS"), (".mp3", None)])
def test_lossy_formats(tmp_path: Path, suffix: str, subtype: str | None) -> None:
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, sine(440, 1.0), RATE_HZ, subtype=subtype)
    assert loudest_hz(read_audio(path)) == pytest.approx(440, abs=2)


def test_channels_are_averaged(tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    left, right = sine(300, 0.2), sine(500, 0.2)
    soundfile.write(path, np.stack([left, right], axis=1), RATE_HZ, subtype="FLOAT")
    torch.testing.assert_close(read_audio(path), torch.from_numpy((left + right) / 2))


@given(
    start=st.integers(min_value=0, max_value=RATE_HZ - 1),
    length=st.integers(min_value=1, max_value=RATE_HZ),
)
@settings(max_examples=50)
def test_a_segment_is_exact(tmp_path_factory: pytest.TempPathFactory, start: int, length: int) -> None:
    path = tmp_path_factory.getbasetemp() / "exact.wav"
    if not path.exists():
        soundfile.write(path, np.arange(RATE_HZ, dtype=np.float32), RATE_HZ, subtype="FLOAT")
    length = min(length, RATE_HZ - start)
    segment = (start / RATE_HZ, length / RATE_HZ)
    expected = torch.arange(start, start + length, dtype=torch.float32)
    one = read_audio(path, offset_seconds=segment[0], duration_seconds=segment[1])
    assert torch.equal(one, expected)
    assert torch.equal(Recording.read(path).segment(*segment), expected)


@pytest.mark.parametrize("subtype", ["OPUS", "VORBIS"])
def test_a_segment_of_ogg_is_that_of_the_whole(tmp_path: Path, subtype: str) -> None:
    path = tmp_path / "a.ogg"
    noise = np.random.default_rng(1).normal(0, 0.1, 3 * RATE_HZ)
    soundfile.write(path, noise, RATE_HZ, subtype=subtype)
    whole = read_audio(path)
    piece = read_audio(path, offset_seconds=1.3, duration_seconds=0.5)
    assert torch.equal(piece, whole[20_800:28_800])
    recording = Recording.read(path)
    recording.segment(0.0, 1.0)
    assert torch.equal(recording.segment(1.3, 0.5), piece)


def test_a_segment_may_run_to_the_end(ramp: Path) -> None:
    assert read_audio(ramp, offset_seconds=0.75).shape == (RATE_HZ // 4,)
    # A rounded duration may reach a little too far.
    assert read_audio(ramp, offset_seconds=0.75, duration_seconds=0.3).shape == (RATE_HZ // 4,)


def test_one_bad_segment_loses_no_other(ramp: Path) -> None:
    recording = Recording.read(ramp)
    with pytest.raises(AudioError, match="past the end"):
        recording.segment(5.0, 1.0)
    assert recording.segment(0.5, 0.25).shape == (4000,)


def test_segments_do_not_share_memory_with_the_recording(ramp: Path) -> None:
    recording = Recording.read(ramp)
    recording.segment().zero_()
    assert recording.segment(0.5, 0.1).min() > 0


def test_duration_comes_from_the_header(tmp_path: Path, ramp: Path) -> None:
    assert audio_duration_seconds(ramp) == 1.0
    flac = tmp_path / "a.flac"
    soundfile.write(flac, sine(440, 0.5, 44_100), 44_100)
    assert audio_duration_seconds(flac) == 0.5


@pytest.mark.parametrize(
    ("offset", "duration", "reason"),
    [
        (2.0, 0.5, "past the end"),
        (0.5, 3.0, "past the end"),
        (1.0, None, "past the end"),
        (-1.0, None, "offset_seconds=-1"),
        (float("nan"), None, "offset_seconds=nan"),
        (0.0, 0.0, "duration_seconds=0"),
        (0.0, -1.0, "duration_seconds=-1"),
        (0.0, float("inf"), "duration_seconds=inf"),
    ],
)
def test_impossible_segments(ramp: Path, offset: float, duration: float | None, reason: str) -> None:
    with pytest.raises(AudioError, match=reason) as caught:
        read_audio(ramp, offset_seconds=offset, duration_seconds=duration)
    assert str(ramp) in str(caught.value)


def wav_bytes(path: Path, *, sample_rate_hz: int) -> bytes:
    """A WAV file whose header says another rate than it was written with."""
    soundfile.write(path, sine(440, 0.1), RATE_HZ, subtype="PCM_16")
    head = bytearray(path.read_bytes())
    head[24:28] = sample_rate_hz.to_bytes(4, "little")
    return bytes(head)


def test_a_sample_rate_that_cannot_be(tmp_path: Path) -> None:
    for rate_hz in (0, 50):
        path = tmp_path / f"{rate_hz}.wav"
        path.write_bytes(wav_bytes(path, sample_rate_hz=rate_hz))
        with pytest.raises(AudioError, match=path.name):
            read_audio(path)
        with pytest.raises(AudioError, match=path.name):
            audio_duration_seconds(path)
    with pytest.raises(AudioError, match="sample_rate_hz=0"):
        resample(torch.zeros(10), RATE_HZ, 0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_samples_that_are_not_finite(tmp_path: Path, value: float) -> None:
    path = tmp_path / "bad.wav"
    wave = sine(440, 1.0)
    wave[8000] = value
    soundfile.write(path, wave, RATE_HZ, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"bad\.wav.*NaN"):
        read_audio(path)
    assert len(read_audio(path, duration_seconds=0.25)) == 4000


def test_missing_unreadable_and_empty_files(tmp_path: Path) -> None:
    garbage, empty, silent = (tmp_path / name for name in ("g.wav", "e.flac", "s.wav"))
    garbage.write_bytes(b"this is no sound" * 10)
    empty.write_bytes(b"")
    soundfile.write(silent, np.zeros(0, dtype=np.float32), RATE_HZ)
    for path in (tmp_path / "absent.wav", tmp_path, garbage, empty, silent):
        with pytest.raises(AudioError) as caught:
            read_audio(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("call", ["is_file", "open"])
def test_what_the_system_refuses_loses_its_utterance_and_no_more(
    ramp: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A folder that may not be entered, too many open files."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, call, refuse)
    with pytest.raises(AudioUnavailable, match=r"the system cannot read it now \(.*Permission denied"):
        audio_duration_seconds(ramp)


@pytest.mark.parametrize("read", [read_audio, Recording.read, audio_duration_seconds, AudioStream])
def test_a_pipe_is_no_recording_and_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Any
) -> None:
    pipe = tmp_path / "pipe.flac"
    os.mkfifo(pipe)
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(AudioError, match="no such audio file"):
        read(pipe)


def test_a_flac_file_without_its_length_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "piped.flac"
    soundfile.write(path, sine(440, 1.0), RATE_HZ)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)
    for read in (read_audio, Recording.read, audio_duration_seconds, AudioStream):
        with pytest.raises(AudioError, match=r"has no length.*`ffmpeg -i piped\.flac repaired"):
            read(path)


def test_a_truncated_flac_is_refused_or_short_and_never_crashes(tmp_path: Path) -> None:
    path = tmp_path / "cut.flac"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, RATE_HZ), RATE_HZ)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioError, match=r"cut\.flac"):
        read_audio(path, offset_seconds=0.0, duration_seconds=1.0)
