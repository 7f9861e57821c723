"""Recordings of any length as a model wants to hear them: phrase by phrase, in bounded memory.

A model is trained on utterances, whose mean and variance normalise their features; minutes of
speech with pauses in between are nothing it knows (72 utterances, WER 12.5 % one by one, in a file with
half a second of silence between them: 80 % in windows of 20 s, 13.7 % once it is cut). So a recording is cut
at its pauses, and the silence is left out. Who speaks on without a pause is heard in windows that overlap
(`speech.transcription.stitching` joins them).

A pause is judged by level, against what the window in hand holds: near to its quietest part, for long
enough. A window that is as loud all through is unbroken speech or an empty room; which of the two, the whole
recording tells, which is read once more where that is asked.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speech.audio import AudioStream, resample
from speech.errors import AudioError

# A pause is in the lowest share of the range, in dB, from a window's quietest tenth to its loudest frames;
# where the range is smaller than this, nothing in the window tells pauses from speech.
_SHARE_OF_RANGE = 0.3
_LEAST_RANGE_DB = 12.0
_LOUDEST_FRAMES = 8
# A window is an empty room's if all but its loudest tenth is within this of its quietest, and of that of the
# recording.
_ROOM_DB = 6.0
# Below this (relative to full scale) there is nothing to be heard in any recording.
_SILENCE_DB = -80.0
# Levels of a whole recording are counted in so many steps of one decibel, from windows of so many frames.
_DECIBELS = 100
_READ_FRAMES = 500


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
        room = _Room(path, frame_samples_here)
        for start, stop, joined in _pieces(held, room, config, frame_samples_here / stream.sample_rate_hz):
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
        """The frames that begin in what is in hand: where they do is rounded, so a division does not tell."""
        frames = math.ceil(len(self._samples) / self._frame_samples) + 1
        while frames and self._at(frames - 1) >= len(self._samples):
            frames -= 1
        return frames

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


class _Room:
    """What is to be heard in a recording where nobody speaks, by the levels of all of it."""

    def __init__(self, path: str | Path, frame_samples: float) -> None:
        self._path = path
        self._frame_samples = frame_samples

    @cached_property
    def limit_db(self) -> float:
        """What stays below is the room; the least there is where nothing rises far above it."""
        counts = self._counts().cumsum()
        floor, peak = np.searchsorted(counts, [0.1 * counts[-1], max(counts[-1] - _LOUDEST_FRAMES, 0)])
        if peak - floor < _LEAST_RANGE_DB:
            return _SILENCE_DB
        return _SILENCE_DB + float(floor) + _ROOM_DB

    def _counts(self) -> NDArray[np.int64]:
        """How many frames are in each decibel above silence: of any recording, the same few numbers."""
        counts = np.zeros(_DECIBELS, dtype=np.int64)
        with AudioStream(self._path) as stream:
            held = _Held(stream, self._frame_samples)
            while not held.is_last:
                held.fill(_READ_FRAMES)
                above = held.levels_db()[:_READ_FRAMES] - _SILENCE_DB
                counts += np.bincount(
                    above[above > 0].astype(int).clip(max=_DECIBELS - 1), minlength=_DECIBELS
                )
                held.forget(_READ_FRAMES)
        return counts


def _pieces(
    held: _Held, room: _Room, config: PhraseConfig, frame_seconds: float
) -> Iterator[tuple[int, int, bool]]:
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
        for start, stop in _pauses(held.levels_db(), room, pause):
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


def _pauses(levels_db: NDArray[np.float64], room: _Room, shortest: int) -> list[tuple[int, int]]:
    """The runs [start, stop) of at least `shortest` frames that are a pause."""
    audible = np.sort(levels_db[levels_db > _SILENCE_DB])
    limit = _SILENCE_DB
    if len(audible):
        floor, most = np.percentile(audible, [10, 90])
        peak = audible[-min(_LOUDEST_FRAMES, len(audible))]
        if peak - floor >= _LEAST_RANGE_DB:
            limit = max(limit, floor + _SHARE_OF_RANGE * (peak - floor))
        elif most - floor < _ROOM_DB and most <= room.limit_db:
            limit = room.limit_db
    return [(start, stop) for start, stop in runs(levels_db <= limit) if stop - start >= shortest]


def runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """[start, stop) of every run of true values."""
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
