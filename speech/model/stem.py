"""The frozen stem of a model: the work below everything that is trained, done once for each utterance.

What is frozen gives the same activations in every round. So they can take the place of the model's input,
and be kept in memory and on disk like features (`speech.data.feature_cache`).

Guarantee: the stem is computed in evaluation mode, alone for each utterance, and its digest names every
parameter and buffer that it uses, the scales of its adapters, and the model's settings. So activations of
another model are never taken for these.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from base.tensor_digest import add_tensors
from speech.features.front_end import Extractor, FrontEnd
from speech.model.adapters import adapted_layers
from speech.model.modes import evaluating


@dataclass(frozen=True, kw_only=True)
class Stem:
    """The frozen modules at the bottom of a model.

    Attributes:
        modules: Everything that `compute` uses.
        compute: Maps the input (T, width) of one utterance to activations (T', `width`).
        width: The values of a frame of activations.
        stride: The frames of the input for one of activations.
        name: What else determines the activations: the window, and the digest of the model's settings.

    Example:
        >>> layer = nn.Linear(2, 3)
        >>> stem = Stem(modules=(layer,), compute=layer, width=3, stride=1)
        >>> stem.compute(torch.zeros(5, 2)).shape, len(stem.digest())
        (torch.Size([5, 3]), 64)
    """

    modules: tuple[nn.Module, ...]
    compute: Callable[[Tensor], Tensor]
    width: int
    stride: int
    name: str = ""

    def digest(self) -> str:
        """SHA-256 (hex) of all parameters and buffers of the stem, of adapters' scales, and of its name."""
        made = hashlib.sha256(self.name.encode())
        for module in self.modules:
            add_tensors(made, [*module.named_parameters(), *module.named_buffers()])
            made.update(repr([layer.lora_scale for layer in adapted_layers(module).values()]).encode())
        return made.hexdigest()


@dataclass(frozen=True, kw_only=True)
class StemFrontEnd:
    """A front end and the frozen stem behind it, as one front end.

    Example:
        >>> from speech.features.log_mel import FeatureConfig
        >>> layer = nn.Linear(40, 3)
        >>> stem = Stem(modules=(layer,), compute=layer, width=3, stride=1)
        >>> StemFrontEnd(inner=FeatureConfig(num_mels=40), stem=stem).extractor()(torch.zeros(16_000)).shape
        torch.Size([101, 3])
    """

    inner: FrontEnd
    stem: Stem
    _digest: list[str] = field(default_factory=list, repr=False, compare=False)

    @property
    def sample_rate_hz(self) -> int:
        """The rate of the waveforms."""
        return self.inner.sample_rate_hz

    @property
    def hop_seconds(self) -> float:
        """The time from one frame of activations to the next."""
        return self.inner.hop_seconds * self.stem.stride

    @property
    def width(self) -> int:
        """The values of a frame."""
        return self.stem.width

    def written(self) -> Mapping[str, Any]:
        """The settings of the front end, and the digest of the stem."""
        if not self._digest:
            self._digest.append(self.stem.digest())
        return {**self.inner.written(), "stem": self._digest[0]}

    def extractor(self) -> Extractor:
        """Make what computes activations of a waveform."""
        extract, modules = self.inner.extractor(), self.stem.modules

        @torch.no_grad()
        def compute(waveform: Tensor) -> Tensor:
            with evaluating(*modules):
                return self.stem.compute(extract(waveform)).float().contiguous()

        return compute
