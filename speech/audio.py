"""Sound files to float32 waveforms: any rate, format or channel count that libsndfile reads.

Guarantees: a waveform is mono, at the requested rate, finite and not empty; everything else is an
`AudioError` that names the file. A segment is exact to the sample: formats that seek approximately (Ogg, MP3)
are decoded from the start and cut. A WAV or MP3 file that is shorter than its header states is refused when
all of it is requested, because its transcript would not match; segments of the existing part can be read.
`Recording` decodes a file once for many segments. A long file in a format that seeks exactly is read segment
by segment, so memory does not grow with its length.

torch is imported with the first waveform: commands that only look at a corpus start without it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from speech.errors import AudioError
from speech.sound_files import (
    END_TOLERANCE_SECONDS,
    MINIMUM_SAMPLE_RATE_HZ,
    SEEKS_EXACTLY,
    audio_duration_seconds,
    decode,
    finite,
    opened,
    refuse_missing,
    require_whole,
)

if TYPE_CHECKING:
    from torch import Tensor

SAMPLE_RATE_HZ = 16_000
# A longer recording is not kept in memory if its format seeks exactly.
LONG_SECONDS = 600.0
# Keeps the resampling kernel small for odd rates; exact for 11 025, 22 050 and 44 100 Hz.
_LARGEST_RATIO_TERM = 640


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A decoded file: `samples` (n,) float32 mono at the file's own `sample_rate_hz`.

    `start` is the position of the first sample in the file, for a file that was read in part. `samples` is
    None for a long file: each segment is then read from the disk.

    Example:
        >>> one_second = np.zeros(8_000, dtype=np.float32)
        >>> recording = Recording(path=Path("call.wav"), samples=one_second, sample_rate_hz=8_000)
        >>> recording.segment(0.25, 0.5).shape  # at 16 kHz
        torch.Size([8000])
    """

    path: Path
    samples: np.ndarray | None
    sample_rate_hz: int
    start: int = 0

    @classmethod
    def read(cls, path: str | Path) -> Recording:
        """Decode the whole file, unless it is long and seeks exactly.

        Raises:
            AudioError: If it is missing, broken or empty.
        """
        with opened(Path(path)) as file:
            rate, long = file.samplerate, file.frames > LONG_SECONDS * file.samplerate
            if long and file.format in SEEKS_EXACTLY:
                return cls(path=Path(path), samples=None, sample_rate_hz=rate)
        return _read(Path(path), 0.0, None)

    def segment(
        self,
        offset_seconds: float = 0.0,
        duration_seconds: float | None = None,
        *,
        sample_rate_hz: int = SAMPLE_RATE_HZ,
    ) -> Tensor:
        """Return the segment as a (samples,) float32 tensor at `sample_rate_hz`.

        Args:
            offset_seconds: Where it begins.
            duration_seconds: Its length; None: to the end.
            sample_rate_hz: The rate of the result.

        Raises:
            AudioError: For a segment outside the file, or with a sample that is not finite.
        """
        if self.samples is None:
            return read_audio(
                self.path,
                sample_rate_hz=sample_rate_hz,
                offset_seconds=offset_seconds,
                duration_seconds=duration_seconds,
            )
        start, stop = _frames(self.path, offset_seconds, duration_seconds, self.sample_rate_hz)
        end = self.start + len(self.samples)
        tolerance = round(END_TOLERANCE_SECONDS * self.sample_rate_hz)
        if start >= end or (stop is not None and stop > end + tolerance):
            raise AudioError(
                f"{self.path}: the segment of {duration_seconds} s at {offset_seconds} s reaches "
                f"past the end at {end / self.sample_rate_hz:.3f} s; "
                "correct 'offset' and 'duration' in the manifest."
            )
        import torch

        piece = self.samples[start - self.start : None if stop is None else stop - self.start]
        wave = torch.from_numpy(np.ascontiguousarray(finite(self.path, piece), dtype=np.float32).copy())
        return resample(wave, self.sample_rate_hz, sample_rate_hz)


def read_audio(
    path: str | Path,
    *,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    offset_seconds: float = 0.0,
    duration_seconds: float | None = None,
) -> Tensor:
    """Read a file, or a segment of it, as a (samples,) float32 tensor at `sample_rate_hz`.

    Raises:
        AudioError: For a file that is missing, unreadable, empty or cut off, an impossible sample rate, a
            segment outside the file, or samples that are not finite.
    """
    recording = _read(Path(path), offset_seconds, duration_seconds)
    if duration_seconds is None and recording.samples is not None:
        end = (recording.start + len(recording.samples)) / recording.sample_rate_hz
        refuse_missing(Path(path), audio_duration_seconds(path) - end)
    return recording.segment(offset_seconds, duration_seconds, sample_rate_hz=sample_rate_hz)


class AudioStream:
    """A file that is read forward, piece by piece, in the memory of one piece.

    Raises:
        AudioError: When opening and when reading, as `read_audio` does.

    Example:
        >>> import murmuration_data
        >>> with AudioStream(murmuration_data.path("corpus/audio/test-000.ogg")) as stream:
        ...     stream.sample_rate_hz, len(stream.read(1_000))
        (16000, 1000)
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._file = opened(self._path)
        require_whole(self._path, self._file)
        self.sample_rate_hz: int = self._file.samplerate

    def __enter__(self) -> AudioStream:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def read(self, samples: int) -> np.ndarray:
        """Return the next (n,) float32 mono samples at the file's own rate; n < `samples` only at the end."""
        decoded = decode(self._path, self._file, None, samples)
        if len(decoded) < samples and self._file.format == "MP3":
            refuse_missing(self._path, (self._file.frames - self._file.tell()) / self.sample_rate_hz)
        return finite(self._path, decoded)


def resample(wave: Tensor, from_hz: int, to_hz: int) -> Tensor:
    """Resample a (samples,) waveform, band-limited."""
    if to_hz < MINIMUM_SAMPLE_RATE_HZ:
        raise AudioError(f"sample_rate_hz={to_hz} must be at least {MINIMUM_SAMPLE_RATE_HZ}.")
    if from_hz == to_hz:
        return wave
    from speech.features.torchaudio_loader import torchaudio

    # Both terms are bounded: the kernel has as many values as their product.
    largest = max(1, _LARGEST_RATIO_TERM * min(from_hz, to_hz) // from_hz)
    ratio = Fraction(from_hz, to_hz).limit_denominator(largest)
    resampled: Tensor = torchaudio.functional.resample(wave, ratio.numerator, ratio.denominator)
    return resampled


def _read(path: Path, offset_seconds: float, duration_seconds: float | None) -> Recording:
    """Decode at least the segment; only the segment where the format seeks exactly."""
    with opened(path) as file:
        rate = file.samplerate
        start, stop = _frames(path, offset_seconds, duration_seconds, rate)
        if file.format not in SEEKS_EXACTLY or start >= file.frames:
            start, stop = 0, None
        mono = decode(path, file, start, None if stop is None else stop - start)
    if not len(mono):
        raise AudioError(f"{path}: has no samples.")
    return Recording(path=path, samples=mono, sample_rate_hz=rate, start=start)


def _frames(
    path: Path, offset_seconds: float, duration_seconds: float | None, rate_hz: int
) -> tuple[int, int | None]:
    """Return first and end frame (None: to the end) of a segment; refuse impossible ones."""
    if not (math.isfinite(offset_seconds) and offset_seconds >= 0):
        raise AudioError(f"{path}: offset_seconds={offset_seconds} must be finite and >= 0.")
    start = round(offset_seconds * rate_hz)
    if duration_seconds is None:
        return start, None
    if not (math.isfinite(duration_seconds) and duration_seconds > 0):
        raise AudioError(f"{path}: duration_seconds={duration_seconds} must be finite and > 0.")
    return start, start + max(1, round(duration_seconds * rate_hz))
