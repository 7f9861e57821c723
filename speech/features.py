"""Log-mel features: a waveform becomes (frames, mels) float32, normalised over its own utterance.

What a model hears is part of what it is: `PRESETS` holds one frozen configuration per model preset,
and a checkpoint carries its own, so that nobody feeds a model features it was not trained on.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from speech.torchaudio_loader import torchaudio

_WINDOWS = {"hann": torch.hann_window, "hamming": torch.hamming_window}
# Keeps the division finite for an utterance of one constant value, such as digital silence.
SMALLEST_DEVIATION = 1e-5


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """How a waveform becomes features.

    `gain` multiplies the samples of [-1, 1]; `power` is 1 for the magnitude spectrum and 2 for the
    power spectrum; `floor` is the smallest mel energy before the logarithm; `normalise` says over
    what the mean and variance of an utterance are taken: each "mel" channel, or the whole
    "utterance" at once.
    """

    num_mels: int
    sample_rate_hz: int = 16_000
    window_seconds: float = 0.025
    hop_seconds: float = 0.010
    fft_size: int = 512
    window: Literal["hann", "hamming"] = "hann"
    gain: float = 1.0
    pre_emphasis: float = 0.0
    power: Literal[1, 2] = 2
    floor: float = 1e-6
    normalise: Literal["mel", "utterance"] = "mel"

    def __post_init__(self) -> None:
        for name in ("num_mels", "sample_rate_hz", "window_seconds", "hop_seconds", "gain", "floor"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} must be > 0.")
        if self.window not in _WINDOWS:
            raise ValueError(f"window={self.window!r} must be one of {', '.join(_WINDOWS)}.")
        if self.power not in (1, 2):
            raise ValueError(f"power={self.power} must be 1 (magnitude) or 2 (power spectrum).")
        if self.normalise not in ("mel", "utterance"):
            raise ValueError(f"normalise={self.normalise!r} must be 'mel' or 'utterance'.")
        if not 0 <= self.pre_emphasis < 1:
            raise ValueError(f"pre_emphasis={self.pre_emphasis} must lie in [0, 1).")
        if self.fft_size < self.window_samples:
            raise ValueError(
                f"fft_size={self.fft_size} is shorter than the window of {self.window_samples} "
                "samples; raise it to the next power of two."
            )

    @property
    def window_samples(self) -> int:
        """Samples under one window."""
        return round(self.window_seconds * self.sample_rate_hz)

    @property
    def hop_samples(self) -> int:
        """Samples between two frames."""
        return round(self.hop_seconds * self.sample_rate_hz)


_SMALL = FeatureConfig(num_mels=40)
# arXiv 2310.00098, App. F: 16-bit scale, pre-emphasis 0.97, Hamming, magnitude, floor 1.
_PAPER = FeatureConfig(
    num_mels=80,
    window="hamming",
    gain=32_768.0,
    pre_emphasis=0.97,
    power=1,
    floor=1.0,
    normalise="utterance",
)
PRESETS = {
    "tiny": _SMALL,
    "small": _SMALL,
    "conformer": _PAPER,
    "paper": _PAPER,
    "paper-post-norm": _PAPER,
    "paper-narrow": _PAPER,
    "paper-shallow": _PAPER,
    "paper-wide": _PAPER,
    "paper-deep": _PAPER,
}


class LogMel:
    """`LogMel(config)(waveform)`: (samples,) float32 at the config's rate to (frames, mels) float32.

    One frame per hop: samples // hop_samples + 1 frames, the first centred on the first sample. The
    features are computed where the waveform is, on a CPU or a GPU.
    """

    def __init__(self, config: FeatureConfig) -> None:
        self.config = config
        self._mel = torchaudio.transforms.MelSpectrogram(
            sample_rate=config.sample_rate_hz,
            n_fft=config.fft_size,
            win_length=config.window_samples,
            hop_length=config.hop_samples,
            window_fn=_WINDOWS[config.window],
            power=float(config.power),
            n_mels=config.num_mels,
            norm=None,
            mel_scale="htk",
            pad_mode="constant",
        )

    @property
    def window(self) -> Tensor:
        """The window (window_samples,)."""
        window: Tensor = self._mel.spectrogram.window
        return window

    @property
    def mel_filters(self) -> Tensor:
        """The weights (bins, mels) of the spectrum's bins in each mel channel."""
        filters: Tensor = self._mel.mel_scale.fb
        return filters

    @torch.no_grad()
    def __call__(self, waveform: Tensor) -> Tensor:
        """Features of one utterance. Raises `ValueError` for anything but a (samples,) waveform."""
        if waveform.ndim != 1 or not len(waveform):
            raise ValueError(
                f"the waveform has shape {tuple(waveform.shape)}; one channel of at least one "
                "sample, (samples,), is needed."
            )
        energies = self._mel.to(waveform.device)(self._emphasised(waveform * self.config.gain))
        return self._normalised(energies.clamp_(min=self.config.floor).log_().T).contiguous()

    def _emphasised(self, waveform: Tensor) -> Tensor:
        if not self.config.pre_emphasis:
            return waveform
        return waveform - self.config.pre_emphasis * functional.pad(waveform[:-1], (1, 0))

    def _normalised(self, features: Tensor) -> Tensor:
        over = (0,) if self.config.normalise == "mel" else (0, 1)
        deviation, mean = torch.std_mean(features, dim=over, correction=0, keepdim=True)
        return (features - mean) / deviation.clamp_(min=SMALLEST_DEVIATION)
