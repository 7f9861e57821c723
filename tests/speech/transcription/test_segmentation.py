from pathlib import Path

import numpy as np
import pytest
import soundfile

from speech.audio import AudioStream, Recording
from speech.corpora.loading import load_corpus
from speech.errors import AudioError
from speech.transcription.segmentation import Phrase, PhraseConfig, _Buffer, read_phrases

RATE_HZ = 16_000
FRAME = 640


def voice(seconds: float, seed: int = 0) -> np.ndarray:
    """Sound whose loudness goes up and down as speech does, without a pause."""
    time = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    swell = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * time)
    noise = np.random.default_rng(seed).standard_normal(len(time))
    return (0.1 * swell * noise).astype(np.float32)


def hush(seconds: float, level: float = 1e-3) -> np.ndarray:
    noise = np.random.default_rng(9).standard_normal(round(seconds * RATE_HZ))
    return (level * noise).astype(np.float32)


def phrases(path: Path, sound: np.ndarray, rate: int = RATE_HZ, **config: float) -> list[Phrase]:
    soundfile.write(path, sound, rate, subtype="FLOAT")
    return list(
        read_phrases(path, frame_samples=FRAME, sample_rate_hz=RATE_HZ, config=PhraseConfig(**config))
    )


def spans(found: list[Phrase]) -> list[tuple[float, float]]:
    """Start and end in seconds."""
    starts = [phrase.first_frame * FRAME / RATE_HZ for phrase in found]
    return [(start, start + len(phrase.wave) / RATE_HZ) for start, phrase in zip(starts, found, strict=True)]


@pytest.mark.parametrize("level", [0.0, 1e-3])
def test_a_recording_is_cut_at_its_pauses(level: float, tmp_path: Path) -> None:
    sound = [
        hush(1, level),
        voice(2, 1),
        hush(0.8, level),
        voice(3, 2),
        hush(5, level),
        voice(1, 3),
        hush(2, level),
    ]
    found = phrases(tmp_path / "a.wav", np.concatenate(sound))
    expected = [(1.0, 3.0), (3.8, 6.8), (11.8, 12.8)]
    assert len(found) == 3 and not any(phrase.joined for phrase in found)
    for (start, end), (begun, ended) in zip(spans(found), expected, strict=True):
        # A margin of 0.12 s is kept on both sides, to a frame or two.
        assert begun - 0.25 < start <= begun and ended <= end < ended + 0.25


@pytest.mark.parametrize("gap_seconds", [15.0, 45.0])
def test_a_recording_with_little_speech_is_cut_down_to_it(gap_seconds: float, tmp_path: Path) -> None:
    """Real utterances with a room at -60 dB between them, whole windows of it, and before the first."""
    corpus = load_corpus("embedded", "")
    utterances = corpus.utterances("seed-test", corpus.speakers("seed-test")[0])[:8]
    recording = Recording.read(utterances[0].audio)
    gap = np.zeros(round(gap_seconds * RATE_HZ))
    sound, is_said = [gap], [gap]
    for utterance in utterances:
        wave = recording.segment(utterance.offset_seconds, utterance.duration_seconds).numpy()
        sound += [wave, gap]
        is_said += [np.ones(len(wave)), gap]
    mix, said = np.concatenate(sound), np.concatenate(is_said) > 0
    found = spans(phrases(tmp_path / "a.wav", mix + hush(len(mix) / RATE_HZ)))
    kept = np.zeros(len(mix), dtype=bool)
    for start, end in found:
        kept[round(start * RATE_HZ) : round(end * RATE_HZ)] = True
    assert np.square(mix[kept]).sum() > 0.999 * np.square(mix).sum()
    # Beside the speech, at most two margins and a frame or two for each of the eight.
    assert (kept & ~said).sum() < 8 * 0.4 * RATE_HZ


def test_level_speech_is_kept_whole_and_beside_louder_speech(tmp_path: Path) -> None:
    level = hush(50, 0.03)
    assert len(phrases(tmp_path / "a.wav", level)) == 3
    swelling = voice(50) + hush(50, 0.04)
    assert len(phrases(tmp_path / "b.wav", swelling)) == 3
    found = spans(phrases(tmp_path / "c.wav", np.concatenate([swelling, 5 * voice(5), swelling])))
    assert sum(end - start for start, end in found) > 100


@pytest.mark.parametrize("rate", [11_025, 22_050])
def test_a_file_may_end_anywhere_in_a_frame(rate: int, tmp_path: Path) -> None:
    """Frames of 30 ms do not begin at whole samples: 2,646 samples are four of them at 22,050 Hz."""
    soundfile.write(tmp_path / "a.wav", voice(1), rate, subtype="FLOAT")
    with AudioStream(tmp_path / "a.wav") as stream:
        whole = stream.read(2 * 2_646)

    class Cut:
        """A stream of the first samples only."""

        def __init__(self, samples: int) -> None:
            self.left = whole[:samples]

        def read(self, samples: int) -> np.ndarray:
            piece, self.left = np.split(self.left, [samples])
            return piece

    for samples in range(2_646, 2 * 2_646):
        held = _Buffer(Cut(samples), 480 * rate / RATE_HZ)  # type: ignore[arg-type]
        held.fill(500)
        assert len(held.levels_db()) == len(held)


def test_the_sound_is_that_of_the_recording(tmp_path: Path) -> None:
    sound = np.concatenate([hush(0.9), voice(2), hush(0.9)])
    (phrase,) = phrases(tmp_path / "a.wav", sound)
    start = phrase.first_frame * FRAME
    np.testing.assert_array_equal(phrase.wave.numpy(), sound[start : start + len(phrase.wave)])


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100])
def test_unbroken_speech_comes_in_windows_that_overlap(rate: int, tmp_path: Path) -> None:
    sound = voice(25 * rate / RATE_HZ)
    found = phrases(tmp_path / "a.wav", sound, rate, window_seconds=10, overlap_seconds=2)
    assert [phrase.first_frame for phrase in found] == [0, 200, 400]
    assert [phrase.joined for phrase in found] == [False, True, True]
    for (start, end), expected in zip(spans(found), [(0, 10), (8, 18), (16, 25)], strict=True):
        assert (start, end) == pytest.approx(expected, abs=0.001)


def test_no_window_is_all_overlap(tmp_path: Path) -> None:
    for seconds in (10.0, 10.04, 18.0):
        found = phrases(tmp_path / "a.wav", voice(seconds), window_seconds=10, overlap_seconds=2)
        assert spans(found)[-1][1] == pytest.approx(seconds)
        assert len(found) == 1 + (seconds > 10)


def test_a_long_file_is_never_whole_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0
    read = AudioStream.read

    def counting(stream: AudioStream, samples: int) -> np.ndarray:
        nonlocal largest
        largest = max(largest, samples)
        return read(stream, samples)

    monkeypatch.setattr(AudioStream, "read", counting)
    sound = np.tile(np.concatenate([voice(4), hush(1)]), 40)
    assert len(phrases(tmp_path / "a.wav", sound)) == 40
    assert largest <= 20 * RATE_HZ + 1


def test_silence_has_no_phrase_and_no_sound_is_an_error(tmp_path: Path) -> None:
    assert phrases(tmp_path / "a.wav", np.zeros(30 * RATE_HZ, dtype=np.float32)) == []
    with pytest.raises(AudioError, match="has no samples"):
        phrases(tmp_path / "b.wav", np.zeros(0, dtype=np.float32))
    broken = voice(30)
    broken[-100] = np.nan
    with pytest.raises(AudioError, match="NaN"):
        phrases(tmp_path / "c.wav", broken)


def test_the_shortest_file_is_a_phrase(tmp_path: Path) -> None:
    (phrase,) = phrases(tmp_path / "a.wav", voice(0.01))
    assert len(phrase.wave) == 160


@pytest.mark.parametrize(
    ("config", "name"),
    [({"overlap_seconds": 11.0}, "overlap_seconds=11"), ({"margin_seconds": 0.2}, "margin_seconds=0.2")],
)
def test_settings_that_cannot_be_are_refused(config: dict[str, float], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        PhraseConfig(**config)
