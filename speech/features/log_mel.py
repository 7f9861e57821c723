"""Log-mel features: a waveform becomes (frames, mels) float32, normalised over its utterance.

The features are a part of the model: a preset has one frozen configuration (`speech.model.presets`), and a
model file holds its own. So no model gets features that it was not trained on.
"""

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from speech.features.torchaudio_loader import torchaudio

_WINDOWS = {
    "hann": torch.hann_window,
    "hamming": torch.hamming_window,
    "symmetric hamming": partial(torch.hamming_window, periodic=False),
}
_FRAMINGS = ("centred", "whole")
# Keeps the division finite for an utterance of one constant value, such as digital silence.
SMALLEST_DEVIATION = 1e-5


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """The settings of log-mel features.

    `gain` multiplies the samples of [-1, 1]. `power` is 1 for the magnitude spectrum and 2 for the power
    spectrum. `floor` is the smallest mel energy before the logarithm. Mean and variance of an utterance are
    taken over each "mel" channel, or over the whole "utterance" (`normalise`).

    With `framing` "centred", there is a frame every hop, the first one centred on the first sample, with
    silence around the utterance; pre-emphasis is applied to the utterance. With "whole", as in the paper's
    release, there are only windows inside the utterance, from its first sample on (an utterance shorter than
    a window is padded with silence); pre-emphasis is applied to each window separately, and its first sample
    is its own predecessor.

    Raises:
        ValueError: For a value outside its range, naming it.

    Example:
        >>> config = FeatureConfig(num_mels=40)
        >>> config.window_samples, config.hop_samples, config.frames(16_000)
        (400, 160, 101)
    """

    num_mels: int
    sample_rate_hz: int = 16_000
    window_seconds: float = 0.025
    hop_seconds: float = 0.010
    fft_size: int = 512
    window: Literal["hann", "hamming", "symmetric hamming"] = "hann"
    gain: float = 1.0
    pre_emphasis: float = 0.0
    power: Literal[1, 2] = 2
    floor: float = 1e-6
    normalise: Literal["mel", "utterance"] = "mel"
    framing: Literal["centred", "whole"] = "centred"

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
        if self.framing not in _FRAMINGS:
            raise ValueError(f"framing={self.framing!r} must be {' or '.join(map(repr, _FRAMINGS))}.")
        if not 0 <= self.pre_emphasis < 1:
            raise ValueError(f"pre_emphasis={self.pre_emphasis} must lie in [0, 1).")
        if self.fft_size < self.window_samples:
            raise ValueError(
                f"fft_size={self.fft_size} is shorter than the window of {self.window_samples} "
                "samples; raise it to the next power of two."
            )

    @property
    def width(self) -> int:
        """The values of a frame: its mels."""
        return self.num_mels

    @property
    def window_samples(self) -> int:
        """Samples of a window."""
        return round(self.window_seconds * self.sample_rate_hz)

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        return round(self.hop_seconds * self.sample_rate_hz)

    @property
    def first_samples(self) -> int:
        """Samples that the first frame needs: frames = max(samples - these, 0) // hop + 1."""
        return self.window_samples if self.framing == "whole" else 0

    def frames(self, samples: int) -> int:
        """Return the frames of an utterance of so many samples."""
        return max(samples - self.first_samples, 0) // self.hop_samples + 1

    def written(self) -> dict[str, Any]:
        """Return the configuration as model files and caches write it.

        A setting that is newer than the format is left out at its old value, so old files stay valid.
        """
        own = asdict(self)
        if self.framing == "centred":
            del own["framing"]
        return own

    def extractor(self) -> "LogMel":
        """Make what computes the features."""
        return LogMel(self)


class LogMel:
    """Computes features: (samples,) float32 at the configuration's rate to (frames, mels) float32.

    There are `config.frames(samples)` frames. They are computed on the device of the waveform.

    Example:
        >>> LogMel(FeatureConfig(num_mels=40))(torch.zeros(16_000)).shape
        torch.Size([101, 40])
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
        """Compute the features of one utterance.

        Raises:
            ValueError: For anything but a (samples,) waveform.
        """
        if waveform.ndim != 1 or not len(waveform):
            raise ValueError(
                f"the waveform has shape {tuple(waveform.shape)}; one channel of at least one "
                "sample, (samples,), is needed."
            )
        self._mel.to(waveform.device)
        energies = (self._whole if self.config.framing == "whole" else self._centred)(
            waveform * self.config.gain
        )
        return self._normalised(energies.clamp_(min=self.config.floor).log_()).contiguous()

    def _centred(self, waveform: Tensor) -> Tensor:
        """Return mel energies (frames, mels), the first frame centred on the first sample."""
        energies: Tensor = self._mel(self._emphasised(waveform))
        return energies.T

    def _whole(self, waveform: Tensor) -> Tensor:
        """Return mel energies (frames, mels) of the windows inside the utterance, each by itself."""
        config = self.config
        filled = functional.pad(waveform, (0, max(config.window_samples - len(waveform), 0)))
        windows = filled.unfold(0, config.window_samples, config.hop_samples)
        before = torch.cat([windows[:, :1], windows[:, :-1]], 1)
        emphasised = windows - config.pre_emphasis * before
        spectrum = torch.fft.rfft(emphasised * self.window, config.fft_size).abs().pow(config.power)
        energies: Tensor = spectrum @ self.mel_filters
        return energies

    def _emphasised(self, waveform: Tensor) -> Tensor:
        if not self.config.pre_emphasis:
            return waveform
        return waveform - self.config.pre_emphasis * functional.pad(waveform[:-1], (1, 0))

    def _normalised(self, features: Tensor) -> Tensor:
        over = (0,) if self.config.normalise == "mel" else (0, 1)
        deviation, mean = torch.std_mean(features, dim=over, correction=0, keepdim=True)
        return (features - mean) / deviation.clamp_(min=SMALLEST_DEVIATION)
