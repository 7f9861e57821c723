"""Cuts recordings of any length into phrases, in bounded memory.

A model is trained on utterances, whose features are normalised by their own mean and variance. Minutes of
speech with pauses are unlike its training data: 72 utterances have a WER of 12.5 % one by one; in one file,
with half a second of silence between them, 80 % in windows of 20 s, and 13.7 % after cutting. So a recording
is cut at its pauses, and the silence is left out. Speech without a pause is cut into overlapping windows,
which `speech.transcription.stitching` joins.

A pause is a long enough run of frames whose level is near to the lowest of the current window. A window of
nearly constant level is either continuous speech or background noise: the noise-floor estimate of the whole
recording, which is then read once more, decides.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speech.audio import AudioStream, resample
from speech.errors import AudioError

# A pause has levels in this lowest fraction of the range, in dB, from a window's quietest tenth to its
# loudest frames. If the range is smaller than this, levels do not separate pauses from speech.
_SHARE_OF_RANGE = 0.3
_LEAST_RANGE_DB = 12.0
_LOUDEST_FRAMES = 8
# A window is background noise if all but its loudest tenth is within this range of its own quietest tenth,
# and of the quietest tenth of the recording.
_NOISE_RANGE_DB = 6.0
# Levels below this, relative to full scale, are silence in any recording.
_SILENCE_DB = -80.0
# The levels of a recording are counted in this many steps of one decibel, read in windows of so many frames.
_DECIBELS = 100
_READ_FRAMES = 500


@dataclass(frozen=True, kw_only=True)
class PhraseConfig:
    """How recordings are cut.

    `window_seconds` is the longest phrase, `overlap_seconds` the overlap of two windows of continuous speech,
    and `pause_seconds` the shortest pause. The phrases before and after a pause keep `margin_seconds` of it.

    Raises:
        ValueError: For a value outside its range.

    Example:
        >>> PhraseConfig(window_seconds=30.0).overlap_seconds
        4.0
    """

    window_seconds: float = 20.0
    overlap_seconds: float = 4.0
    pause_seconds: float = 0.4
    margin_seconds: float = 0.12

    def __post_init__(self) -> None:
        if not 0 < 2 * self.overlap_seconds <= self.window_seconds:
            raise ValueError(
                f"overlap_seconds={self.overlap_seconds} must be > 0 and at most half of "
                f"window_seconds={self.window_seconds}."
            )
        if not 0 <= 2 * self.margin_seconds < self.pause_seconds:
            raise ValueError(
                f"margin_seconds={self.margin_seconds} must be >= 0 and less than half of "
                f"pause_seconds={self.pause_seconds}."
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class Phrase:
    """The sound (samples,) of a phrase, at the model's rate, from frame `first_frame` of the recording on.

    If it is `joined`, it begins inside the phrase before it, and must be stitched to it.

    Example:
        >>> Phrase(first_frame=25, wave=torch.zeros(16_000), joined=False).wave.shape
        torch.Size([16000])
    """

    first_frame: int
    wave: Tensor
    joined: bool


OnSeconds = Callable[[float], None]


def read_phrases(
    path: str | Path,
    *,
    frame_samples: int,
    sample_rate_hz: int,
    config: PhraseConfig | None = None,
    on_seconds: OnSeconds = lambda seconds: None,
) -> Iterator[Phrase]:
    """Yield the phrases of a file, in order.

    Args:
        path: The file.
        frame_samples: The length of a frame at `sample_rate_hz`.
        sample_rate_hz: The rate of the phrases.
        config: How to cut.
        on_seconds: Called before each phrase with the seconds of the recording that lie before it.

    Raises:
        AudioError: As `speech.audio.read_audio` does, on reaching the broken place.
    """
    config = config or PhraseConfig()
    with AudioStream(path) as stream:
        own_frame_samples = frame_samples * stream.sample_rate_hz / sample_rate_hz
        buffer = _Buffer(stream, own_frame_samples)
        noise_floor = _NoiseFloor(path, own_frame_samples)
        frame_seconds = own_frame_samples / stream.sample_rate_hz
        for start, stop, joined in _pieces(buffer, noise_floor, config, frame_seconds):
            wave = torch.from_numpy(buffer.samples(start, stop).copy())
            on_seconds((buffer.first_frame + start) * frame_seconds)
            yield Phrase(
                first_frame=buffer.first_frame + start,
                wave=resample(wave, stream.sample_rate_hz, sample_rate_hz),
                joined=joined,
            )
    if not buffer.first_frame and not len(buffer):
        raise AudioError(f"{path}: has no samples.")


class _Buffer:
    """The part of a recording in memory, from `first_frame` on, counted in frames."""

    def __init__(self, stream: AudioStream, frame_samples: float) -> None:
        self.first_frame = 0
        self.is_last = False
        self._stream = stream
        self._frame_samples = frame_samples
        self._samples = np.empty(0, dtype=np.float32)

    def __len__(self) -> int:
        """The frames that begin in the buffer. Their starts are rounded, so a division is not exact."""
        frames = math.ceil(len(self._samples) / self._frame_samples) + 1
        while frames and self._at(frames - 1) >= len(self._samples):
            frames -= 1
        return frames

    def fill(self, frames: int) -> None:
        """Read until so many frames are in memory, and one more sample, which shows if there are more."""
        wanted = self._at(frames) + 1
        self._samples = np.concatenate([self._samples, self._stream.read(wanted - len(self._samples))])
        self.is_last = len(self._samples) < wanted

    def forget(self, frames: int) -> None:
        """Drop frames from the start."""
        self._samples = self._samples[self._at(frames) :]
        self.first_frame += frames

    def samples(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return the samples of the frames [start, stop) of the buffer."""
        return self._samples[self._at(start) : self._at(stop)]

    def levels_db(self) -> NDArray[np.float64]:
        """Return the level of each frame, relative to full scale."""
        starts = [self._at(frame) for frame in range(len(self))]
        squares = np.square(self._samples - self._samples.mean(), dtype=np.float64)
        sizes = np.diff([*starts, len(squares)])
        levels: NDArray[np.float64] = 10 * np.log10(np.add.reduceat(squares, starts) / sizes + 1e-12)
        return levels

    def _at(self, frame: int) -> int:
        """Return the sample of the buffer at which a frame begins."""
        origin = round(self.first_frame * self._frame_samples)
        return round((self.first_frame + frame) * self._frame_samples) - origin


class _NoiseFloor:
    """The noise-floor estimate of a recording, from the levels of all of it."""

    def __init__(self, path: str | Path, frame_samples: float) -> None:
        self._path = path
        self._frame_samples = frame_samples

    @cached_property
    def limit_db(self) -> float:
        """Levels up to this are background noise; the lowest level if none is far above the floor."""
        counts = self._counts().cumsum()
        floor, peak = np.searchsorted(counts, [0.1 * counts[-1], max(counts[-1] - _LOUDEST_FRAMES, 0)])
        if peak - floor < _LEAST_RANGE_DB:
            return _SILENCE_DB
        return _SILENCE_DB + float(floor) + _NOISE_RANGE_DB

    def _counts(self) -> NDArray[np.int64]:
        """Count the frames in each decibel above silence; memory does not grow with the recording."""
        counts = np.zeros(_DECIBELS, dtype=np.int64)
        with AudioStream(self._path) as stream:
            buffer = _Buffer(stream, self._frame_samples)
            while not buffer.is_last:
                buffer.fill(_READ_FRAMES)
                above = buffer.levels_db()[:_READ_FRAMES] - _SILENCE_DB
                counts += np.bincount(
                    above[above > 0].astype(int).clip(max=_DECIBELS - 1), minlength=_DECIBELS
                )
                buffer.forget(_READ_FRAMES)
        return counts


def _pieces(
    buffer: _Buffer, noise_floor: _NoiseFloor, config: PhraseConfig, frame_seconds: float
) -> Iterator[tuple[int, int, bool]]:
    """Yield (start, stop, joined) of each phrase, in frames of the buffer at that time."""
    window, overlap, pause, margin = (
        max(round(seconds / frame_seconds), 1)
        for seconds in (
            config.window_seconds,
            config.overlap_seconds,
            config.pause_seconds,
            config.margin_seconds,
        )
    )
    joined = False
    while True:
        buffer.fill(window)
        if not len(buffer):
            return
        begin = 0
        for start, stop in _pauses(buffer.levels_db(), noise_floor, pause):
            if start > begin:
                yield begin, min(start + margin, stop), joined
                joined = False
            # A pause that begins in the overlap with the previous window starts no new phrase.
            if start > 0 or not joined:
                begin = stop - margin
        if buffer.is_last:
            if len(buffer) - begin > margin or begin == 0:
                yield begin, len(buffer), joined
            return
        if begin == 0:
            yield 0, window, joined
        joined = begin == 0
        buffer.forget(begin or window - overlap)


def _pauses(levels_db: NDArray[np.float64], noise_floor: _NoiseFloor, shortest: int) -> list[tuple[int, int]]:
    """Return the pauses: runs [start, stop) of at least `shortest` frames."""
    audible = np.sort(levels_db[levels_db > _SILENCE_DB])
    limit = _SILENCE_DB
    if len(audible):
        floor, most = np.percentile(audible, [10, 90])
        peak = audible[-min(_LOUDEST_FRAMES, len(audible))]
        if peak - floor >= _LEAST_RANGE_DB:
            limit = max(limit, floor + _SHARE_OF_RANGE * (peak - floor))
        elif most - floor < _NOISE_RANGE_DB and most <= noise_floor.limit_db:
            limit = noise_floor.limit_db
    return [(start, stop) for start, stop in runs(levels_db <= limit) if stop - start >= shortest]


def runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return [start, stop) of every run of true values."""
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
