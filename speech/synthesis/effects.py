"""Effects from a dry synthetic voice to a recording in a room: warp, tilt, reverberation, noise, gain.

All functions take and return (n,) float arrays, and take randomness as a generator. The order is physical:
the voice, its room, the noise in it, the gain of the microphone.

Spectra are computed in float32, at lengths with a fast transform: if a speaker is made for each local
training, they are most of its cost.
"""

from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.signal import firwin, resample_poly

from speech.synthesis.voices import VirtualSpeaker

Wave = NDArray[np.float64] | NDArray[np.float32]

SAMPLE_RATE_HZ = 16_000
# Opus codes 20 ms frames; whole frames keep offsets short numbers and utterances apart.
FRAME_SAMPLES = 320
_VOICE_RMS = 0.07
_PEAK = 0.95
_PAD_SECONDS = (0.08, 0.20)
_SILENCE_BELOW_PEAK = 10 ** (-45 / 20)
_DIRECT_SAMPLES = 32
_HUM_HZ = 50.0
# The power of the noise falls with this power of the frequency.
_NOISE_EXPONENTS = {"white": 0.0, "pink": 1.0, "brown": 2.0}


def render(dry: Wave, sample_rate_hz: int, speaker: VirtualSpeaker, random: np.random.Generator) -> Wave:
    """Return a dry utterance at `sample_rate_hz` as this speaker's microphone records it, at 16 kHz.

    It has whole 20 ms frames, with some noise of the room before and after, within [-1, 1].
    """
    voice = warp(trim(dry), sample_rate_hz, speaker.warp)
    voice = tilt(voice, speaker.tilt_db_per_octave)
    before, after = (round(random.uniform(*_PAD_SECONDS) * SAMPLE_RATE_HZ) for _ in range(2))
    after += -(len(voice) + before + after) % FRAME_SAMPLES
    level = np.sqrt(np.mean(voice**2)) + 1e-12
    voice = np.pad(voice * (_VOICE_RMS / level), (before, after))
    voice = reverberate(voice, speaker.room_seconds, random)
    noise_rms = _VOICE_RMS * 10 ** (-speaker.snr_db / 20)
    recorded = voice + noise_rms * coloured_noise(speaker.noise, len(voice), random)
    recorded *= 10 ** (speaker.gain_db / 20)
    return recorded * float(min(1.0, _PEAK / (np.abs(recorded).max() + 1e-12)))


def trim(wave: Wave) -> Wave:
    """Remove the silence at both ends.

    Raises:
        ValueError: If there is nothing else.
    """
    loud = np.flatnonzero(np.abs(wave) > _SILENCE_BELOW_PEAK * np.abs(wave).max(initial=0.0))
    if not len(loud):
        raise ValueError("the utterance is silent.")
    return wave[loud[0] : loud[-1] + 1]


def warp(wave: Wave, sample_rate_hz: int, factor: float) -> Wave:
    """Resample to 16 kHz, with formants, pitch and tempo scaled by `factor`."""
    ratio = Fraction(SAMPLE_RATE_HZ / (sample_rate_hz * factor)).limit_denominator(100)
    taps = _low_pass(max(ratio.numerator, ratio.denominator))
    return np.asarray(resample_poly(wave.astype(np.float32), ratio.numerator, ratio.denominator, window=taps))


@lru_cache(maxsize=256)
def _low_pass(rate: int) -> NDArray[np.float32]:
    """Return the filter of `resample_poly`, kept for reuse: there are some 140 rates."""
    taps: NDArray[np.float32] = firwin(20 * rate + 1, 1 / rate, window=("kaiser", 5.0)).astype(np.float32)
    return taps


def tilt(wave: Wave, db_per_octave: float) -> Wave:
    """Filter by a straight line in dB over log-frequency, 0 dB at 1 kHz, flat below 100 Hz."""
    octaves = _octaves(_quick(len(wave)), 100.0)
    return _filtered(wave, np.exp(np.float32(np.log(10) * db_per_octave / 20) * octaves))


def reverberate(wave: Wave, room_seconds: float, random: np.random.Generator) -> Wave:
    """Add a room whose sound falls by 60 dB in `room_seconds`; length and power stay.

    The impulse response is the direct sound, and from 2 ms on exponentially decaying noise (Moorer 1979) with
    as much power as the direct sound. A room that is too small for that has no effect.
    """
    times = np.arange(round(room_seconds * SAMPLE_RATE_HZ), dtype=np.float32) / SAMPLE_RATE_HZ
    if len(times) <= _DIRECT_SAMPLES:
        return wave
    tail = random.standard_normal(len(times)) * np.exp(np.float32(-3 * np.log(10) / room_seconds) * times)
    tail[:_DIRECT_SAMPLES] = 0.0
    response = tail / np.sqrt(np.sum(tail**2))
    response[0] = 1.0
    size = _quick(len(wave) + len(response) - 1)
    spectrum = fft.rfft((response / np.sqrt(2)).astype(np.float32), size)
    return _filtered(wave, spectrum)


def coloured_noise(kind: str, length: int, random: np.random.Generator) -> Wave:
    """Return noise of unit power: white, pink, brown, or mains hum with its harmonics."""
    if kind == "hum":
        return _hum(length, random)
    if kind not in _NOISE_EXPONENTS:
        raise ValueError(f"noise {kind!r} is none of {', '.join(_NOISE_EXPONENTS)}, hum.")
    white = random.standard_normal(length)
    noise = _filtered(white, _noise_colour(kind, _quick(length))) if _NOISE_EXPONENTS[kind] else white
    return np.asarray(noise / np.sqrt(np.mean(noise**2)))


def _hum(length: int, random: np.random.Generator) -> Wave:
    period = round(SAMPLE_RATE_HZ / _HUM_HZ)
    harmonics = np.arange(1, 13)
    phases = random.uniform(0, 2 * np.pi, len(harmonics))
    waves = np.sin(2 * np.pi / period * harmonics[:, None] * np.arange(period) + phases[:, None])
    hum = np.resize((waves / harmonics[:, None]).sum(axis=0), length) + 0.2 * random.standard_normal(length)
    return np.asarray(hum / np.sqrt(np.mean(hum**2)))


def _quick(length: int) -> int:
    """Return the next length with small prime factors; there are few, so gains are reused."""
    return 2048 * -(-length // 2048)


@lru_cache(maxsize=64)
def _octaves(size: int, flat_below_hz: float) -> NDArray[np.float32]:
    """Return each frequency of a spectrum (size // 2 + 1,) in octaves above 1 kHz, with a lower limit."""
    frequencies = np.maximum(np.fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ), flat_below_hz)
    octaves: NDArray[np.float32] = np.log2(frequencies / 1000.0).astype(np.float32)
    return octaves


@lru_cache(maxsize=64)
def _noise_colour(kind: str, size: int) -> NDArray[np.float32]:
    """Return the gains (size // 2 + 1,) that make white noise pink or brown."""
    gains: NDArray[np.float32] = np.exp2(np.float32(-_NOISE_EXPONENTS[kind] / 2) * _octaves(size, 20.0))
    return gains


def _filtered(wave: Wave, spectrum: NDArray[np.float32] | NDArray[np.complex64]) -> Wave:
    """Filter `wave` by this spectrum, with zeros after its end; the length stays."""
    size = 2 * (len(spectrum) - 1)
    return np.asarray(fft.irfft(fft.rfft(wave.astype(np.float32), size) * spectrum, size)[: len(wave)])
