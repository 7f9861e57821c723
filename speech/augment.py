"""SpecAugment (Park et al. 2019) without time warping: hides bands of mel channels and of time.

The fill is 0, the mean of normalised features. The input is left as it is: features are shared.
"""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from recipes.learning import LearningSettings


@dataclass(frozen=True, kw_only=True)
class SpecAugment:
    """`freq_masks` bands of up to `freq_width` channels, `time_masks` of up to `time_width` frames.

    No time mask is longer than `time_ratio` of its utterance.
    """

    freq_masks: int = 2
    freq_width: int = 8
    time_masks: int = 2
    time_width: int = 15
    time_ratio: float = 0.1

    def __post_init__(self) -> None:
        for name in ("freq_masks", "freq_width", "time_masks", "time_width"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 0.")
        if not 0 <= self.time_ratio <= 1:
            raise ValueError(f"time_ratio={self.time_ratio} must lie in [0, 1].")

    def __call__(self, features: Tensor, lengths: Tensor, generator: torch.Generator) -> Tensor:
        """A masked copy of features (B, T, mels) whose utterances have `lengths` (B,) frames.

        The draws come from `generator`, on the CPU, for every utterance its own.
        """
        time, mels = features.shape[1:]
        channels = torch.full_like(lengths, mels)
        freq_limits = channels.clamp(max=self.freq_width)
        time_limits = (lengths * self.time_ratio).long().clamp_(max=self.time_width)
        in_freq = _bands(channels, freq_limits, self.freq_masks, mels, generator)
        in_time = _bands(lengths, time_limits, self.time_masks, time, generator)
        hidden = in_time.unsqueeze(2) | in_freq.unsqueeze(1)
        return features.masked_fill(hidden.to(features.device), 0.0)


_SMALL = SpecAugment()
_PAPER = SpecAugment(freq_width=30, time_masks=10, time_width=50)  # arXiv 2310.00098, App. F
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


def make_augment(preset: str, settings: LearningSettings) -> SpecAugment | None:
    """The masks of a preset, with what `settings` change in them; None if they turn them off."""
    if not settings.spec_augment:
        return None
    chosen = {field.name: getattr(settings, field.name) for field in fields(SpecAugment)}
    return replace(PRESETS[preset], **{name: value for name, value in chosen.items() if value is not None})


def _bands(sizes: Tensor, limits: Tensor, count: int, length: int, generator: torch.Generator) -> Tensor:
    """(B, length) bool: a union of `count` bands of width U{0..limit}, each within its size."""
    draws = torch.rand(2, len(sizes), count, generator=generator)
    widths = (draws[0] * (limits.unsqueeze(1) + 1)).long()
    starts = (draws[1] * (sizes.unsqueeze(1) - widths + 1)).long()
    place = torch.arange(length)
    starts, widths = starts.unsqueeze(2), widths.unsqueeze(2)
    return ((place >= starts) & (place < starts + widths)).any(1)
