"""Mutated sound files: of many formats, damaged anywhere, and with heads that say what they like."""

import io
import struct
from typing import Any

import numpy as np
import soundfile
from hypothesis import strategies as st

from tests.fuzz import mutations

SECONDS, RATE_HZ = 0.4, 16_000
FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "float.wav": ("WAV", "FLOAT"),
    "wavex.wav": ("WAVEX", "PCM_24"),
    "flac": ("FLAC", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "vorbis.ogg": ("OGG", "VORBIS"),
    "opus.ogg": ("OGG", "OPUS"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "rf64.wav": ("RF64", "PCM_16"),
    "sph": ("NIST", "PCM_16"),
}
LARGE_32 = st.sampled_from(
    [0, 1, 2, 3, 7, 3999, 4000, 8_000, 44_101, 192_001, 767_999, 2**20, 2**31 - 1, 2**31, 2**32 - 1]
)
SHORT_16 = st.sampled_from([0, 1, 2, 3, 8, 12, 16, 24, 32, 64, 255, 1024, 65535])


def _noise() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, round(SECONDS * RATE_HZ))


def _encoded(kind: str, subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, _noise(), RATE_HZ, format=kind, subtype=subtype)
    return file.getvalue()


WHOLE = {suffix: _encoded(*kind) for suffix, kind in FORMATS.items()}


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """A suffix, and a file of that format (or of another) with some bytes changed."""
    suffix = draw(st.sampled_from(sorted(WHOLE)))
    inside = suffix if draw(st.integers(0, 9)) else draw(st.sampled_from(sorted(WHOLE)))
    return suffix, draw(mutations.byte_mutations(WHOLE[inside]))


@st.composite
def wav(draw: st.DrawFn) -> tuple[str, bytes]:
    """A WAV file of whose head one or two fields are anything."""
    fields: dict[str, Any] = {
        "riff size": 36 + 2 * 6400,
        "fmt size": 16,
        "tag": 1,
        "channels": 1,
        "rate": RATE_HZ,
        "byte rate": 2 * RATE_HZ,
        "align": 2,
        "bits": 16,
        "data size": 2 * 6400,
    }
    for name in draw(st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=2)):
        short = name in ("tag", "channels", "align", "bits")
        fields[name] = draw(SHORT_16 if short else LARGE_32)
    head = struct.pack("<4sI4s4sIHHIIHH4sI", *_with_marks(fields.values()))
    body = (np.clip(_noise(), -1, 1) * 32767).astype("<i2").tobytes()
    return "wav", head + body


def _with_marks(values: Any) -> tuple[Any, ...]:
    riff, fmt, tag, channels, rate, byte_rate, align, bits, data = values
    return (b"RIFF", riff, b"WAVE", b"fmt ", fmt, tag, channels, rate, byte_rate, align, bits, b"data", data)


@st.composite
def samples(draw: st.DrawFn) -> tuple[str, bytes]:
    """A WAV file of floats, some of which are none."""
    wave = _noise().astype(np.float32)
    place = draw(st.integers(0, len(wave) - 1))
    with np.errstate(over="ignore"):
        wave[place : place + draw(st.integers(1, 9000))] = draw(mutations.floats)
    file = io.BytesIO()
    soundfile.write(
        file, wave, draw(st.sampled_from([4000, 8000, 16000, 48000, 44101])), format="WAV", subtype="FLOAT"
    )
    return "wav", file.getvalue()


@st.composite
def flac(draw: st.DrawFn) -> tuple[str, bytes]:
    """A FLAC file whose STREAMINFO says what it likes of rate, channels, depth and length."""
    content = bytearray(WHOLE["flac"])
    rate = draw(st.sampled_from([0, 1, 3999, 16_000, 44_101, 655_350, 2**20 - 1]))
    channels, depth = draw(st.integers(0, 7)), draw(st.integers(0, 31))
    length = draw(st.sampled_from([0, 1, 6399, 6400, 6401, 2**31, 2**36 - 1]))
    keep = draw(st.sampled_from(["rate", "length", "shape", "all"]))
    own = int.from_bytes(content[18:26])
    word = (rate if keep != "length" else own >> 44) << 44
    word |= (channels << 41 | depth << 36) if keep in ("shape", "all") else own & (0xFF << 36)
    word |= length if keep != "rate" else own & (2**36 - 1)
    content[18:26] = word.to_bytes(8)
    return "flac", bytes(content)


files = st.one_of(damaged(), damaged(), wav(), samples(), flac())
