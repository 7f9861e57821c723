"""SpecAugment (Park et al. 2019) without time warping: masks bands of mel channels and of frames.

Park et al. set masked values to 0, which is the mean of their normalised features. Features that are not
normalised, such as Whisper's, get the mean of their utterance instead, as in ESPnet
(`espnet/utils/spec_augment.py`, unless `replace_with_zero`). `transformers` writes 0 there too
(`WhisperModel._mask_input_features`), which is neither the mean nor silence in Whisper's scale.

The input is not changed, because features are shared.
"""

from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from torch import Tensor

from base.learning_settings import LearningSettings


@dataclass(frozen=True, kw_only=True)
class SpecAugment:
    """Masks `freq_masks` bands of up to `freq_width` channels and `time_masks` of up to `time_width` frames.

    No time mask is longer than `time_ratio` of its utterance. With `ends` "included", every width from 0 to
    the limit and every position can be drawn. With "excluded", as in the paper's release, widths stay below
    the limit (0 if the limit is 0), and no band reaches the last channel or the last frame of the utterance.
    Masked values become `value`: "zero", or the "mean" of the utterance's features.

    Raises:
        ValueError: For a value outside its range, naming it.

    Example:
        >>> mask = SpecAugment(freq_masks=0, time_masks=1, time_width=20, time_ratio=0.5)
        >>> features, lengths = torch.ones(1, 100, 40), torch.tensor([100])
        >>> masked = mask(features, lengths, torch.Generator().manual_seed(0))
        >>> masked.shape, bool((masked == 0).any(2).sum() <= 20)
        (torch.Size([1, 100, 40]), True)
    """

    freq_masks: int = 2
    freq_width: int = 8
    time_masks: int = 2
    time_width: int = 15
    time_ratio: float = 0.1
    ends: Literal["included", "excluded"] = "included"
    value: Literal["zero", "mean"] = "zero"

    def __post_init__(self) -> None:
        for name in ("freq_masks", "freq_width", "time_masks", "time_width"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 0.")
        if not 0 <= self.time_ratio <= 1:
            raise ValueError(f"time_ratio={self.time_ratio} must lie in [0, 1].")
        if self.ends not in _BEYOND:
            raise ValueError(f"ends={self.ends!r} must be {' or '.join(map(repr, _BEYOND))}.")
        if self.value not in ("zero", "mean"):
            raise ValueError(f"value={self.value!r} must be 'zero' or 'mean'.")

    def __call__(self, features: Tensor, lengths: Tensor, generator: torch.Generator) -> Tensor:
        """Return a masked copy of features (B, T, mels) whose utterances have `lengths` (B,) frames.

        Each utterance has its own draws, from `generator`, on the CPU.
        """
        time, mels = features.shape[1:]
        channels = torch.full_like(lengths, mels)
        freq_limits = channels.clamp(max=self.freq_width)
        time_limits = (lengths * self.time_ratio).long().clamp_(max=self.time_width)
        beyond = _BEYOND[self.ends]
        in_freq = _bands(channels, freq_limits, self.freq_masks, mels, beyond, generator)
        in_time = _bands(lengths, time_limits, self.time_masks, time, beyond, generator)
        hidden = (in_time.unsqueeze(2) | in_freq.unsqueeze(1)).to(features.device)
        if self.value == "zero":
            return features.masked_fill(hidden, 0.0)
        inside = torch.arange(time) < lengths.unsqueeze(1)  # padding stays 0
        hidden &= inside.unsqueeze(2).to(features.device)
        return torch.where(hidden, _means(features, lengths)[:, None, None], features)


# A draw up to n has n values, or one more.
_BEYOND = {"included": 1, "excluded": 0}


def make_augment(augment: SpecAugment | None, settings: LearningSettings) -> SpecAugment | None:
    """Return the masks `augment` of a model with the changes of `settings`; None if those turn masks off."""
    if augment is None or not settings.spec_augment:
        return None
    names = {field.name for field in fields(SpecAugment)} & type(settings).model_fields.keys()
    chosen = {name: getattr(settings, name) for name in names}
    return replace(augment, **{name: value for name, value in chosen.items() if value is not None})


def _means(features: Tensor, lengths: Tensor) -> Tensor:
    """Return the mean (B,) of each utterance's features, without padding."""
    return torch.stack([one[:length].mean() for one, length in zip(features, lengths.tolist(), strict=True)])


def _bands(
    sizes: Tensor, limits: Tensor, count: int, length: int, beyond: int, generator: torch.Generator
) -> Tensor:
    """Return (B, length) bool: the union of `count` bands of width U{0..limit}, each within its size.

    With `beyond` 0 instead of 1 the largest width and the last position are never drawn.
    """
    draws = torch.rand(2, len(sizes), count, generator=generator)
    widths = (draws[0] * (limits.unsqueeze(1) + beyond)).long()
    starts = (draws[1] * (sizes.unsqueeze(1) - widths + beyond)).long()
    position = torch.arange(length)
    starts, widths = starts.unsqueeze(2), widths.unsqueeze(2)
    return ((position >= starts) & (position < starts + widths)).any(1)
