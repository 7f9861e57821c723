"""A model with its features inside, in operations that every export format has.

Shapes: B waveforms of up to S samples. The spectrum is a convolution with the windowed rows of the Fourier
matrix, because ONNX runtimes have different FFTs; the result is the same up to float32 rounding.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from speech.features.log_mel import SMALLEST_DEVIATION, FeatureConfig, LogMel
from speech.model.ctc_transformer import CTCTransformer


class WaveformFeatures(nn.Module):
    """`LogMel` for padded batches; each utterance has the same features as alone.

    Example:
        >>> features, frames = WaveformFeatures(FeatureConfig(num_mels=40))(
        ...     torch.zeros(2, 16_000), torch.tensor([16_000, 8_000])
        ... )
        >>> features.shape, frames.tolist()
        (torch.Size([2, 101, 40]), [101, 51])
    """

    fourier: Tensor
    mel: Tensor

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        self.config = config
        log_mel = LogMel(config)
        self.register_buffer("fourier", _FOURIER[config.framing](log_mel.window, config))
        self.register_buffer("mel", log_mel.mel_filters.T.contiguous())

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute features (B, T, mels), zero beyond the frames of each utterance, and those frames (B,)."""
        config = self.config
        frames = (lengths - config.first_samples).clamp(min=0) // config.hop_samples + 1
        energies = self.mel @ self._spectrum(self._emphasised(waveforms, lengths))
        features = energies.clamp(min=config.floor).log().transpose(1, 2)
        valid = torch.arange(features.shape[1], device=features.device) < frames.unsqueeze(1)
        return self._normalised(features, valid.unsqueeze(-1).to(features.dtype)), frames

    def _emphasised(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Emphasise, and set samples beyond the lengths to zero, whatever the caller left there."""
        waveforms = waveforms * self.config.gain
        if self.config.pre_emphasis and self.config.framing == "centred":
            waveforms = waveforms - self.config.pre_emphasis * functional.pad(waveforms[:, :-1], (1, 0))
        valid = torch.arange(waveforms.shape[1], device=waveforms.device) < lengths.unsqueeze(1)
        return waveforms.masked_fill(~valid, 0.0)  # a product would keep NaN

    def _spectrum(self, waveforms: Tensor) -> Tensor:
        """Map (B, S) to (B, bins, T); the first frame is centred on the first sample or begins with it."""
        half = self.config.fft_size // 2 if self.config.framing == "centred" else 0
        padded = functional.pad(waveforms, (half, half)).unsqueeze(1)
        real, imaginary = functional.conv1d(padded, self.fourier, stride=self.config.hop_samples).chunk(2, 1)
        power = real.square() + imaginary.square()
        return power if self.config.power == 2 else power.sqrt()

    def _normalised(self, features: Tensor, valid: Tensor) -> Tensor:
        over, entries = ((1,), 1) if self.config.normalise == "mel" else ((1, 2), self.config.num_mels)
        count = valid.sum((1, 2), keepdim=True) * entries
        mean = (features * valid).sum(over, keepdim=True) / count
        centred = (features - mean) * valid
        deviation = (centred.square().sum(over, keepdim=True) / count).sqrt()
        return centred / deviation.clamp(min=SMALLEST_DEVIATION)


class WaveformModel(nn.Module):
    """Waveforms to log-probabilities.

    Example:
        >>> from speech.model.ctc_transformer import build_model
        >>> model = WaveformModel(build_model("tiny", seed=0), FeatureConfig(num_mels=40))
        >>> log_probs, frames = model(torch.zeros(1, 16_000), torch.tensor([16_000]))
        >>> log_probs.shape, frames.tolist()
        (torch.Size([1, 25, 30]), [25])
    """

    def __init__(self, model: CTCTransformer, config: FeatureConfig) -> None:
        super().__init__()
        self.features = WaveformFeatures(config)
        self.model = model
        self.eval()

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute log-probabilities (B, T', outputs) and their lengths (B,).

        Args:
            waveforms: (B, S) float32 in [-1, 1] at the rate of the features.
            lengths: (B,) int64 samples of each waveform.
        """
        features, frames = self.features(waveforms, lengths)
        log_probs, encoder_frames = self.model(features, frames)
        return log_probs, encoder_frames


def _centred_fourier(window: Tensor, config: FeatureConfig) -> Tensor:
    """Return (2 * bins, 1, FFT size): cosine rows, then sine rows, times the centred window."""
    before = (config.fft_size - len(window)) // 2
    centred = functional.pad(window.double(), (before, config.fft_size - len(window) - before))
    return (_fourier(config.fft_size, config.fft_size) * centred).unsqueeze(1).float()


def _whole_fourier(window: Tensor, config: FeatureConfig) -> Tensor:
    """Return (2 * bins, 1, window): the same for a window at the start, with its pre-emphasis."""
    rows = _fourier(config.fft_size, len(window)) * window.double()
    # Sample n is in column n and, as a predecessor, in column n + 1; the first is its own predecessor.
    after = functional.pad(rows[:, 1:], (0, 1))
    after[:, 0] += rows[:, 0]
    return (rows - config.pre_emphasis * after).unsqueeze(1).float()


_FOURIER = {"centred": _centred_fourier, "whole": _whole_fourier}


def _fourier(size: int, columns: int) -> Tensor:
    """Return (2 * bins, columns) float64: the cosine rows, then the sine rows of an FFT of `size`."""
    bins, samples = torch.arange(size // 2 + 1), torch.arange(columns)
    # Whole turns are removed as integers, so the angle is exact for any window.
    angle = torch.outer(bins, samples).remainder(size).double() * (2 * math.pi / size)
    return torch.cat([angle.cos(), -angle.sin()])
