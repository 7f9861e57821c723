"""The front end of a model: what it is given in place of a waveform."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor

Extractor = Callable[[Tensor], Tensor]
"""Maps a waveform (n,) to a model's input (T, width), float32."""


class FrontEnd(Protocol):
    """Describes the input of a model; log-mel features (`FeatureConfig`) are one.

    Guarantee: `written` determines the input of every waveform, so it can name a cache of inputs.

    Example:
        >>> import torch
        >>> from speech.features.log_mel import FeatureConfig
        >>> front_end: FrontEnd = FeatureConfig(num_mels=40)
        >>> front_end.extractor()(torch.zeros(16_000)).shape
        torch.Size([101, 40])
    """

    @property
    def sample_rate_hz(self) -> int:
        """The rate of the waveforms."""

    @property
    def hop_seconds(self) -> float:
        """The time from one frame of the input to the next."""

    @property
    def width(self) -> int:
        """The values of a frame."""

    def written(self) -> Mapping[str, Any]:
        """Everything that determines the input, fit for JSON."""

    def extractor(self) -> Extractor:
        """Make what computes the input."""
