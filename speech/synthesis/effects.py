"""From a dry synthetic voice to one in a room: warp, tilt, reverberation, noise, gain.

All functions take and return (n,) float arrays; randomness comes in as a generator. The order is
that of the world: the voice, its room, the noise there, the microphone's gain.
"""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve, resample_poly

from speech.synthesis.voices import VirtualSpeaker

Wave = NDArray[np.float64]

SAMPLE_RATE_HZ = 16_000
# Opus codes 20 ms frames; whole frames keep offsets short numbers and utterances apart.
FRAME_SAMPLES = 320
_VOICE_RMS = 0.07
_PEAK = 0.95
_PAD_SECONDS = (0.08, 0.20)
_SILENCE_BELOW_PEAK = 10 ** (-45 / 20)
_DIRECT_SAMPLES = 32
_HUM_HZ = 50.0
# Power of the noise falls with frequency to this power.
_NOISE_EXPONENTS = {"white": 0.0, "pink": 1.0, "brown": 2.0}


def render(dry: Wave, sample_rate_hz: int, speaker: VirtualSpeaker, random: np.random.Generator) -> Wave:
    """A dry utterance at `sample_rate_hz` as this speaker's microphone hears it, at 16 kHz.

    Whole 20 ms frames, with a little of the room's own noise before and after; within [-1, 1].
    """
    voice = warp(trim(dry), sample_rate_hz, speaker.warp)
    voice = tilt(voice, speaker.tilt_db_per_octave)
    before, after = (round(random.uniform(*_PAD_SECONDS) * SAMPLE_RATE_HZ) for _ in range(2))
    after += -(len(voice) + before + after) % FRAME_SAMPLES
    level = np.sqrt(np.mean(voice**2)) + 1e-12
    voice = np.pad(voice * (_VOICE_RMS / level), (before, after))
    voice = reverberate(voice, speaker.room_seconds, random)
    noise_rms = _VOICE_RMS * 10 ** (-speaker.snr_db / 20)
    heard = voice + noise_rms * coloured_noise(speaker.noise, len(voice), random)
    heard *= 10 ** (speaker.gain_db / 20)
    return heard * float(min(1.0, _PEAK / (np.abs(heard).max() + 1e-12)))


def trim(wave: Wave) -> Wave:
    """Without the silence at both ends. Raises `ValueError` where there is nothing else."""
    loud = np.flatnonzero(np.abs(wave) > _SILENCE_BELOW_PEAK * np.abs(wave).max(initial=0.0))
    if not len(loud):
        raise ValueError("the utterance is silent.")
    return wave[loud[0] : loud[-1] + 1]


def warp(wave: Wave, sample_rate_hz: int, factor: float) -> Wave:
    """At 16 kHz with formants, pitch and tempo scaled by `factor` (resampling)."""
    ratio = Fraction(SAMPLE_RATE_HZ / (sample_rate_hz * factor)).limit_denominator(500)
    return np.asarray(resample_poly(wave, ratio.numerator, ratio.denominator))


def tilt(wave: Wave, db_per_octave: float) -> Wave:
    """A straight line in dB over log-frequency, 0 dB at 1 kHz, flat below 100 Hz."""
    frequencies = np.fft.rfftfreq(len(wave), 1 / SAMPLE_RATE_HZ)
    octaves = np.log2(np.maximum(frequencies, 100.0) / 1000.0)
    gains = 10 ** (db_per_octave * octaves / 20)
    return np.fft.irfft(np.fft.rfft(wave) * gains, len(wave))


def reverberate(wave: Wave, room_seconds: float, random: np.random.Generator) -> Wave:
    """In a room whose sound falls by 60 dB in `room_seconds`; same length, same power.

    The impulse response is the direct sound and then exponentially decaying noise (Moorer 1979),
    with as much power as the direct sound; it starts 2 ms later, and a room too small for that is
    no room.
    """
    times = np.arange(round(room_seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    if len(times) <= _DIRECT_SAMPLES:
        return wave
    tail = random.standard_normal(len(times)) * 10 ** (-3 * times / room_seconds)
    tail[:_DIRECT_SAMPLES] = 0.0
    response = tail / np.sqrt(np.sum(tail**2))
    response[0] = 1.0
    return np.asarray(fftconvolve(wave, response / np.sqrt(2))[: len(wave)])


def coloured_noise(kind: str, length: int, random: np.random.Generator) -> Wave:
    """Noise of unit power: white, pink, brown, or mains hum with its harmonics."""
    if kind == "hum":
        return _hum(length, random)
    if kind not in _NOISE_EXPONENTS:
        raise ValueError(f"noise {kind!r} is none of {', '.join(_NOISE_EXPONENTS)}, hum.")
    spectrum = np.fft.rfft(random.standard_normal(length))
    frequencies = np.maximum(np.fft.rfftfreq(length, 1 / SAMPLE_RATE_HZ), 20.0)
    noise = np.fft.irfft(spectrum * frequencies ** (-_NOISE_EXPONENTS[kind] / 2), length)
    return np.asarray(noise / np.sqrt(np.mean(noise**2)))


def _hum(length: int, random: np.random.Generator) -> Wave:
    times = np.arange(length) / SAMPLE_RATE_HZ
    harmonics = np.arange(1, 13)
    phases = random.uniform(0, 2 * np.pi, len(harmonics))
    waves = np.sin(2 * np.pi * _HUM_HZ * harmonics[:, None] * times + phases[:, None])
    hum = (waves / harmonics[:, None]).sum(axis=0) + 0.2 * random.standard_normal(length)
    return np.asarray(hum / np.sqrt(np.mean(hum**2)))
