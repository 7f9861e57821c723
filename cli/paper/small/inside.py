"""What an experiment does with a round's mean before the server's step: look at it, or add noise to a part.

Guarantee: none. Both are for runs whose plan has no noise, whose epsilon is infinite on every artefact. No
setting of a run (`recipes`) reaches them: a study's cell asks by its own settings, "study.look-inside" and
"study.noise-on" with "study.noise", and `experiments.read_study` refuses them in a private run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cli.paper.results.record import Layers
from privacy import LayerLayout

GROUPS = {
    "layer-norm": ("norm",),
    "attention": ("wqkv", "wo."),
    "feed-forward": (".w1.", ".w2."),
    "convolution": ("conv",),
    "head": ("output",),
}
ALL, NONE = "all", "none"
DIGITS = 5


def group_of(tensor: str) -> str:
    """Return the group of a tensor of the presets, by its name.

    Example:
        >>> [group_of(name) for name in ("blocks.0.mlp_norm.bias", "blocks.0.wo.weight", "output.bias")]
        ['layer-norm', 'attention', 'head']
    """
    return next((group for group, parts in GROUPS.items() if any(part in tensor for part in parts)), "other")


@dataclass(kw_only=True)
class Probe:
    """Looks at each round's mean: the norms of its tensors, and how smooth the server's path is.

    The smoothness in round t is |g_t - g_(t-1)| / |w_t - w_(t-1)|, where g_t is the mean update from the
    model w_t (the probe of arXiv 2309.13102, along the path of the server).
    """

    layout: LayerLayout
    mean_norms: dict[int, list[float]] = field(default_factory=dict)
    smoothness: list[float] = field(default_factory=list)
    _before: tuple[Tensor, Tensor] | None = None

    def __call__(self, round_number: int, mean: Tensor, vector: Tensor) -> None:
        """Look at the mean (d,) of a round, from the model `vector` (d,); neither is changed."""
        self.mean_norms[round_number] = self.layout.norms(mean)
        if self._before is not None:
            last_mean, last_vector = self._before
            moved = float((vector - last_vector).norm())
            if moved > 0:
                self.smoothness.append(float((mean - last_mean).norm()) / moved)
        self._before = mean.clone(), vector.clone()

    def layers(self, raw: Iterable[Mapping[str, Any]]) -> Layers:
        """Return what was seen, with the norms of the lines of not_private.jsonl of a run with one node."""
        norms = {line["round"]: line["update_norms"] for line in raw if line.get("update_norms")}
        return Layers(
            tensors=self.layout.names,
            sizes=self.layout.sizes,
            rounds=tuple(norms),
            update_norms=tuple(_rounded(line) for line in norms.values()),
            mean_norms=tuple(_rounded(self.mean_norms[number]) for number in norms),
            smoothness=_rounded(self.smoothness),
        )


@dataclass(frozen=True, kw_only=True)
class GroupNoise:
    """Adds Gaussian noise to one group of tensors of each round's mean; it protects nobody.

    Args:
        layout: The tensors.
        group: A name of `GROUPS`, "all" or "none".
        std: Of the noise on each value of the mean.
    """

    layout: LayerLayout
    group: str
    std: float

    def __call__(self, round_number: int, mean: Tensor, vector: Tensor) -> None:
        """Add the noise of a round to the mean (d,), in place."""
        source = np.random.default_rng()
        for name, part in self.layout.views(mean).items():
            if self.group == ALL or self.group == group_of(name):
                part += torch.from_numpy(source.normal(0.0, self.std, tuple(part.shape))).to(part.dtype)


def _rounded(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(float(f"{value:.{DIGITS}g}") for value in values)


def signal_to_noise(layers: Layers, std: float) -> list[float]:
    """Return each tensor's norm of the mean update over the norm of noise on it, as a mean over rounds.

    Args:
        layers: Of a run without noise, with at least one round.
        std: Of noise on each value of the mean; its norm on a tensor of d values is std sqrt(d).
    """
    means = np.mean(np.array(layers.mean_norms), axis=0)
    return [float(mean) / (std * math.sqrt(size)) for mean, size in zip(means, layers.sizes, strict=True)]
