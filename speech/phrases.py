"""Recordings of any length as a model wants to hear them: phrase by phrase, in bounded memory.

A model is trained on utterances, whose mean and variance normalise their features; minutes of
speech with pauses in between are nothing it knows (72 utterances, WER 12.5 % one by one, in a file with
half a second of silence between them: 80 % in windows of 20 s, 13.7 % once it is cut). So a recording is cut
at its pauses, and the silence is left out. Who speaks on without a pause is heard in windows that overlap
(`speech.stitching` joins them).

A pause is judged by level, against what the window in hand holds: near to its quietest part, for long
enough.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speech.audio import AudioStream, resample
from speech.errors import AudioError

# A pause is in the lowest share of the range, in dB, from a window's quietest to its loudest tenth; where the
# range is smaller than this, nothing tells pauses from speech.
_SHARE_OF_RANGE = 0.3
_LEAST_RANGE_DB = 12.0
# Below this (relative to full scale) there is nothing to be heard in any recording.
_SILENCE_DB = -80.0


@dataclass(frozen=True, kw_only=True)
class PhraseConfig:
    """Longest phrase, what two windows of unbroken speech share, shortest pause, and what is kept of one.

    A pause leaves `margin_seconds` to the phrase before it and to the one after it.
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
    """Sound (samples,) at the model's rate from frame number `first_frame` of the recording on.

    `joined`: it begins inside the phrase before it, with which it is to be stitched.
    """

    first_frame: int
    wave: Tensor
    joined: bool


def read_phrases(
    path: str | Path, *, frame_samples: int, sample_rate_hz: int, config: PhraseConfig | None = None
) -> Iterator[Phrase]:
    """The phrases of a file, in order. A frame is `frame_samples` long at `sample_rate_hz`.

    Raises `AudioError` as `speech.audio.read_audio` does, when it comes to the broken place.
    """
    config = config or PhraseConfig()
    with AudioStream(path) as stream:
        frame_samples_here = frame_samples * stream.sample_rate_hz / sample_rate_hz
        held = _Held(stream, frame_samples_here)
        for start, stop, joined in _pieces(held, config, frame_samples_here / stream.sample_rate_hz):
            wave = torch.from_numpy(held.samples(start, stop).copy())
            yield Phrase(
                first_frame=held.first_frame + start,
                wave=resample(wave, stream.sample_rate_hz, sample_rate_hz),
                joined=joined,
            )
    if not held.first_frame and not len(held):
        raise AudioError(f"{path}: holds no sample.")


class _Held:
    """The part of a recording in hand, from `first_frame` on; it is counted in frames."""

    def __init__(self, stream: AudioStream, frame_samples: float) -> None:
        self.first_frame = 0
        self.is_last = False
        self._stream = stream
        self._frame_samples = frame_samples
        self._samples = np.empty(0, dtype=np.float32)

    def __len__(self) -> int:
        return math.ceil(len(self._samples) / self._frame_samples)

    def fill(self, frames: int) -> None:
        """Read on until so many frames, and a sample more that tells whether it goes on, are in hand."""
        wanted = self._at(frames) + 1
        self._samples = np.concatenate([self._samples, self._stream.read(wanted - len(self._samples))])
        self.is_last = len(self._samples) < wanted

    def forget(self, frames: int) -> None:
        """Drop so many frames from the start."""
        self._samples = self._samples[self._at(frames) :]
        self.first_frame += frames

    def samples(self, start: int, stop: int) -> NDArray[np.float32]:
        """The samples of the frames [start, stop) of those in hand."""
        return self._samples[self._at(start) : self._at(stop)]

    def levels_db(self) -> NDArray[np.float64]:
        """The level of each frame, relative to full scale."""
        starts = [self._at(frame) for frame in range(len(self))]
        squares = np.square(self._samples - self._samples.mean(), dtype=np.float64)
        sizes = np.diff([*starts, len(squares)])
        levels: NDArray[np.float64] = 10 * np.log10(np.add.reduceat(squares, starts) / sizes + 1e-12)
        return levels

    def _at(self, frame: int) -> int:
        """The sample in hand at which a frame in hand begins."""
        origin = round(self.first_frame * self._frame_samples)
        return round((self.first_frame + frame) * self._frame_samples) - origin


def _pieces(held: _Held, config: PhraseConfig, frame_seconds: float) -> Iterator[tuple[int, int, bool]]:
    """(start, stop, joined) of each phrase, in frames of what is in hand when it is yielded."""
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
        held.fill(window)
        if not len(held):
            return
        begin = 0
        for start, stop in _pauses(held.levels_db(), pause):
            if start > begin:
                yield begin, min(start + margin, stop), joined
                joined = False
            # A pause that begins in what the window before has heard is no place to start anew.
            if start > 0 or not joined:
                begin = stop - margin
        if held.is_last:
            if len(held) - begin > margin or begin == 0:
                yield begin, len(held), joined
            return
        if begin == 0:
            yield 0, window, joined
        joined = begin == 0
        held.forget(begin or window - overlap)


def _pauses(levels_db: NDArray[np.float64], shortest: int) -> list[tuple[int, int]]:
    """The runs [start, stop) of at least `shortest` frames that are a pause."""
    audible = levels_db[levels_db > _SILENCE_DB]
    limit = _SILENCE_DB
    if len(audible):
        floor, peak = np.percentile(audible, [10, 90])
        if peak - floor >= _LEAST_RANGE_DB:
            limit = max(limit, floor + _SHARE_OF_RANGE * (peak - floor))
    return [(start, stop) for start, stop in runs(levels_db <= limit) if stop - start >= shortest]


def runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """[start, stop) of every run of true values."""
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
