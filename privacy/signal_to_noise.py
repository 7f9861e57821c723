"""How large a round's mean update is beside its noise, by group of layers, from the released mean alone.

The released mean of a group is r = u + n, with the mean clipped update u and Gaussian noise n whose expected
squared norm is known. E|r|^2 = |u|^2 + E|n|^2, so sqrt(max(0, |r|^2 / E|n|^2 - 1)) estimates |u| / |n|.

Guarantee: post-processing. It reads released values and public numbers, so it costs no privacy.

A small group says less: |n|^2 of d coordinates varies by a factor of 1 +- sqrt(2 / d), so up to about
(2 / d)^(1/4) an estimate is noise alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from privacy.clipping.bounds import ClipBounds
from privacy.kernels import squared_norm
from privacy.layer_groups import LayerGroup
from privacy.layout import LayerLayout


def signal_to_noise(
    mean: Tensor,
    stds: Sequence[float],
    groups: Sequence[LayerGroup],
    layout: LayerLayout,
    bounds: ClipBounds,
) -> list[float]:
    """The estimate of each group.

    Args:
        mean: (d,) at least, on the CPU: the noised mean update.
        stds: The positive standard deviation of the noise on a coordinate of the mean, by slice.
        groups: The groups of layers.
        layout: The model's tensors.
        bounds: The bounds, for their slices.

    Example:
        >>> import torch
        >>> layout = LayerLayout.of({"a": (2,), "b": (3,)})
        >>> bounds, mean = ClipBounds.of("dim", 1.0, layout), torch.tensor([3.0, 1.0, 0.0, 0.0, 1.0])
        >>> groups = [LayerGroup(name="a", tensors=(0,)), LayerGroup(name="b", tensors=(1,))]
        >>> signal_to_noise(mean, (1.0, 1.0), groups, layout, bounds)
        [2.0, 0.0]
    """
    borders = bounds.offsets[: bounds.model_slices + 1]
    sizes = np.diff(borders)
    below = np.concatenate([[0.0], np.cumsum(sizes * np.square(stds[: bounds.model_slices]))])
    noise = np.diff(np.interp(layout.offsets, borders, below))  # its growth is even within a slice
    values = mean.numpy()
    found = []
    for group in groups:
        ranges = [(layout.offsets[one], layout.offsets[one + 1]) for one in group.tensors]
        measured = math.fsum(squared_norm(values[begin:end]) for begin, end in ranges)
        expected = math.fsum(float(noise[one]) for one in group.tensors)
        found.append(math.sqrt(max(0.0, measured / expected - 1)) if expected else math.inf)
    return found
