"""Sound files into float32 waveforms: any rate, format or channel count that libsndfile reads.

What comes out is mono, at the asked rate, finite and not empty; everything else is an `AudioError`
that names the file. A WAV or MP3 file that is shorter than it says is refused where it is asked for as a
whole, for half a sentence is not what was said; segments of what is there can be had. A segment is exact
to the sample: formats whose seeking is approximate (Ogg, MP3) are decoded from the start and sliced.
`Recording` decodes a file once for many segments, or, where the file is long and its format seeks
exactly, each segment by itself: memory does not grow with it.

torch is imported where the first waveform is made: a command that only looks at a corpus starts without it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from speech.errors import AudioError, AudioUnavailable

if TYPE_CHECKING:
    from torch import Tensor

SAMPLE_RATE_HZ = 16_000
# Below this, speech is not intelligible, and a header that says so is a broken header.
MINIMUM_SAMPLE_RATE_HZ = 4_000
# No recorder writes more; what resampling from it takes grows with it.
MAXIMUM_SAMPLE_RATE_HZ = 768_000
# How far a manifest's rounded duration may reach past the end of its file.
END_TOLERANCE_SECONDS = 0.25
# A recording longer than this is not kept decoded, if there is another way.
LONG_SECONDS = 600.0
_BLOCK_FRAMES = 1 << 20
# What writes a WAV file into a pipe leaves about this, or more, as its size.
_SIZE_UNKNOWN = 0x7FFF_0000
# libsndfile says 2^63 - 1 where the header says nothing.
_FRAMES_UNKNOWN = 1 << 62
# What libsndfile answers (SF_ERR_SYSTEM) when opening or reading fails by an errno.
_SYSTEM_ERROR = 2
_SEEKS_EXACTLY = frozenset({"WAV", "WAVEX", "FLAC", "AIFF", "AU", "W64", "RF64", "CAF", "NIST"})
# Keeps the resampling kernel small for odd rates; exact for 11 025, 22 050 and 44 100 Hz.
_LARGEST_RATIO_TERM = 640


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One decoded file: `samples` (n,) float32 mono at the file's own `sample_rate_hz`.

    `start` is the position of the first sample in the file, for a file read in part. `samples` None is a
    long file, each segment of which is read from the disk.
    """

    path: Path
    samples: np.ndarray | None
    sample_rate_hz: int
    start: int = 0

    @classmethod
    def read(cls, path: str | Path) -> Recording:
        """Decode the whole file, unless it is long and seeks exactly.

        Raises `AudioError` where it is missing, broken or empty.
        """
        with _opened(Path(path)) as file:
            rate, long = file.samplerate, file.frames > LONG_SECONDS * file.samplerate
            if long and file.format in _SEEKS_EXACTLY:
                return cls(path=Path(path), samples=None, sample_rate_hz=rate)
        return _read(Path(path), 0.0, None)

    def segment(
        self,
        offset_seconds: float = 0.0,
        duration_seconds: float | None = None,
        *,
        sample_rate_hz: int = SAMPLE_RATE_HZ,
    ) -> Tensor:
        """The segment as a (samples,) float32 tensor at `sample_rate_hz`.

        Raises `AudioError` for a segment outside the file or with a sample that is not finite.
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
        wave = torch.from_numpy(np.ascontiguousarray(_finite(self.path, piece), dtype=np.float32).copy())
        return resample(wave, self.sample_rate_hz, sample_rate_hz)


def read_audio(
    path: str | Path,
    *,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    offset_seconds: float = 0.0,
    duration_seconds: float | None = None,
) -> Tensor:
    """Read one file or one segment of it as a (samples,) float32 tensor at `sample_rate_hz`.

    Raises `AudioError` for a missing, unreadable or empty file, one that is cut off, a sample rate that
    cannot be, a segment outside the file, or samples that are not finite.
    """
    recording = _read(Path(path), offset_seconds, duration_seconds)
    if duration_seconds is None and recording.samples is not None:
        end = (recording.start + len(recording.samples)) / recording.sample_rate_hz
        _refuse_missing(Path(path), audio_duration_seconds(path) - end)
    return recording.segment(offset_seconds, duration_seconds, sample_rate_hz=sample_rate_hz)


class AudioStream:
    """A file read forward, piece by piece, in the memory of a piece: `with AudioStream(path) as stream`.

    Opening and reading raise `AudioError` as `read_audio` does.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._file = _opened(self._path)
        _require_whole(self._path, self._file)
        self.sample_rate_hz: int = self._file.samplerate

    def __enter__(self) -> AudioStream:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def read(self, samples: int) -> np.ndarray:
        """The next (n,) float32 mono samples at the file's own rate; n < `samples` only at its end."""
        decoded = _decode(self._path, self._file, None, samples)
        if len(decoded) < samples and self._file.format == "MP3":
            _refuse_missing(self._path, (self._file.frames - self._file.tell()) / self.sample_rate_hz)
        return _finite(self._path, decoded)


def audio_duration_seconds(path: str | Path) -> float:
    """The length that the file's header gives. Raises `AudioError` as `read_audio` does."""
    length = _flac_seconds(Path(path))
    if length is not None:
        return length
    with _opened(Path(path)) as file:
        _require_whole(Path(path), file)
        return float(file.frames / file.samplerate)


def resample(wave: Tensor, from_hz: int, to_hz: int) -> Tensor:
    """Band-limited resampling of a (samples,) waveform."""
    if to_hz < MINIMUM_SAMPLE_RATE_HZ:
        raise AudioError(f"sample_rate_hz={to_hz} is asked for; at least {MINIMUM_SAMPLE_RATE_HZ} is needed.")
    if from_hz == to_hz:
        return wave
    from speech.features.torchaudio_loader import torchaudio

    # Both terms are held down: the kernel has as many values as their product.
    largest = max(1, _LARGEST_RATIO_TERM * min(from_hz, to_hz) // from_hz)
    ratio = Fraction(from_hz, to_hz).limit_denominator(largest)
    resampled: Tensor = torchaudio.functional.resample(wave, ratio.numerator, ratio.denominator)
    return resampled


def _read(path: Path, offset_seconds: float, duration_seconds: float | None) -> Recording:
    """Decode at least the asked segment: just it where the format seeks exactly."""
    with _opened(path) as file:
        rate = file.samplerate
        start, stop = _frames(path, offset_seconds, duration_seconds, rate)
        if file.format not in _SEEKS_EXACTLY or start >= file.frames:
            start, stop = 0, None
        mono = _decode(path, file, start, None if stop is None else stop - start)
    if not len(mono):
        raise AudioError(f"{path}: holds no sample.")
    return Recording(path=path, samples=mono, sample_rate_hz=rate, start=start)


def _mono_blocks(file: soundfile.SoundFile, frames: int | None) -> Iterator[np.ndarray]:
    """The means of the channels, block by block, of `frames` frames (None: all) or what there is of them.

    (`SoundFile.blocks` would believe the header, and fill what a truncated file lacks with garbage.)
    """
    left = math.inf if frames is None else frames
    while left > 0:
        block = file.read(int(min(left, _BLOCK_FRAMES)), dtype="float32", always_2d=True)
        if not len(block):
            return
        left -= len(block)
        yield block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)


def _decode(path: Path, file: soundfile.SoundFile, start: int | None, frames: int | None) -> np.ndarray:
    """At most `frames` samples (all: None), mono, from `start` or (None) from where the file stands."""
    try:
        if start is not None:
            file.seek(start)
        pieces = list(_mono_blocks(file, frames))
    except MemoryError as error:
        raise AudioUnavailable(f"{path}: does not fit into memory; cut it, or free some.") from error
    except (soundfile.LibsndfileError, RuntimeError) as error:
        _refuse_unavailable(path, error)
        raise AudioError(f"{path}: cannot be decoded ({error}); re-export it.") from error
    return np.concatenate(pieces) if pieces else np.empty(0, dtype=np.float32)


def _require_whole(path: Path, file: soundfile.SoundFile) -> None:
    """Refuse a WAV file that is shorter than it says: libsndfile reads what there is, and is content."""
    try:
        with path.open("rb") as content:
            head = content.read(8)
        size = path.stat().st_size
    except OSError as error:
        raise _unavailable(path, error) from error
    announced = int.from_bytes(head[4:], "little") + len(head)
    if head[:4] == b"RIFF" and size < announced < _SIZE_UNKNOWN:
        _refuse_missing(path, (announced - size) * file.frames / file.samplerate / size)


def _refuse_missing(path: Path, seconds: float) -> None:
    if seconds > END_TOLERANCE_SECONDS:
        raise AudioError(
            f"{path}: is cut off, {seconds:.1f} s of what it announces are missing; get it again."
        )


def _finite(path: Path, samples: np.ndarray) -> np.ndarray:
    if not np.isfinite(samples).all():
        raise AudioError(f"{path}: holds samples that are NaN or infinite; re-export it.")
    return samples


def _flac_seconds(path: Path) -> float | None:
    """A FLAC file's length from its first 26 bytes; None where they do not say it.

    Ten times faster than opening the file for decoding, and LibriSpeech has 292 000 of them.
    """
    try:
        if not path.is_file():  # to open a pipe is to wait for somebody to write into it
            return None
        with path.open("rb") as file:
            head = file.read(26)
    except OSError:
        return None
    if len(head) < 26 or head[:4] != b"fLaC" or head[4] & 0x7F != 0:
        return None
    # STREAMINFO: 20 bits sample rate, 3 channels, 5 depth, 36 number of samples.
    fields = int.from_bytes(head[18:26])
    rate, samples = fields >> 44, fields & (2**36 - 1)
    return samples / rate if rate >= MINIMUM_SAMPLE_RATE_HZ and samples else None


def _opened(path: Path) -> soundfile.SoundFile:
    try:
        if not path.is_file():
            raise AudioError(f"{path}: no such audio file.")
        file = soundfile.SoundFile(path)
    except (soundfile.LibsndfileError, OSError, RuntimeError, TypeError) as error:
        _refuse_unavailable(path, error)
        raise AudioError(f"{path}: cannot be read as audio ({error}); use WAV, FLAC, Ogg or MP3.") from error
    if file.frames >= _FRAMES_UNKNOWN:
        file.close()
        raise AudioError(
            f"{path}: its header does not say how long it is, as of FLAC written into a pipe; mend it by "
            f"`ffmpeg -i {path.name} mended.flac`."
        )
    if not MINIMUM_SAMPLE_RATE_HZ <= file.samplerate <= MAXIMUM_SAMPLE_RATE_HZ:
        file.close()
        raise AudioError(
            f"{path}: its sample rate is {file.samplerate} Hz; "
            f"at least {MINIMUM_SAMPLE_RATE_HZ} Hz is needed, and at most {MAXIMUM_SAMPLE_RATE_HZ}."
        )
    return file


def _refuse_unavailable(path: Path, error: Exception) -> None:
    """libsndfile tells a fault of the system from one of the content, and not which."""
    system = isinstance(error, soundfile.LibsndfileError) and error.code == _SYSTEM_ERROR
    if system or isinstance(error, OSError):
        raise _unavailable(path, error) from error


def _unavailable(path: Path, error: Exception) -> AudioUnavailable:
    return AudioUnavailable(
        f"{path}: cannot be read now, the system refuses it ({error}); see that this user may read it, "
        "that its disk is well and that not too many files are open."
    )


def _frames(
    path: Path, offset_seconds: float, duration_seconds: float | None, rate_hz: int
) -> tuple[int, int | None]:
    """First frame and end frame (None: to the end) of a segment; refuses what cannot be."""
    if not (math.isfinite(offset_seconds) and offset_seconds >= 0):
        raise AudioError(f"{path}: offset_seconds={offset_seconds} must be finite and >= 0.")
    start = round(offset_seconds * rate_hz)
    if duration_seconds is None:
        return start, None
    if not (math.isfinite(duration_seconds) and duration_seconds > 0):
        raise AudioError(f"{path}: duration_seconds={duration_seconds} must be finite and > 0.")
    return start, start + max(1, round(duration_seconds * rate_hz))
