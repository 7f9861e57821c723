"""Clipping inside a step: the gradients of a batch's parts are clipped, each by itself, and then averaged.

Per-core clipping (Wang et al. 2024, arXiv 2406.02004): in data-parallel training the mean gradient of each
core is clipped before the cores' mean is taken. Micro-batch clipping (Wang 2024, arXiv 2408.16204): the same
with parts of a chosen number of utterances. The adaptive variants of both papers take the smallest norm among
the parts as the bound, so each part is scaled to it. Both papers report lower word error rates; they explain
it as pruning of utterances that hold training back.

What is implemented, where the papers leave it open or this differs:

- A part's weight in the mean is the number of what its loss is a mean over, utterances or targets
  (`Recogniser.weighted_objective`). The papers' parts are equally large and have equal weights. With these
  weights a bound that no part reaches gives the gradient of the batch, also if the last part is smaller.
- With 'adaptive-micro' there is no other bound. Parts without any gradient (no utterance counts) are left
  out of the smallest norm: they would stop the step. A batch of one part is not clipped.
- The cores of 'per-core' are the parts number k, k + n, k + 2n, ... of a batch, whatever computes them.
- Each part is a forward pass of its own: dropout and left-out blocks are drawn for each part.

It is a part of training, before a speaker's update exists. The update's own clip (`privacy.clipping`) comes
after it and holds for every update, so this changes no guarantee, and gives none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from base.learning_settings import LearningSettings

BATCH, PER_CORE, ADAPTIVE = "batch", "per-core", "adaptive-micro"
NOTHING = torch.finfo(torch.float32).tiny  # a norm whose inverse is no 32-bit number counts as 0


def parts_of(count: int, settings: LearningSettings) -> list[list[int]]:
    """The indices of each part of a batch of `count` utterances; no part is empty.

    Example:
        >>> parts_of(5, LearningSettings(clip="micro-batch", micro_batch=2))
        [[0, 1], [2, 3], [4]]
        >>> parts_of(5, LearningSettings(clip="per-core", clip_cores=2))
        [[0, 2, 4], [1, 3]]
        >>> parts_of(5, LearningSettings())
        [[0, 1, 2, 3, 4]]
    """
    indices = list(range(count))
    if settings.clip == PER_CORE:
        return [indices[core :: settings.clip_cores] for core in range(min(settings.clip_cores, count))]
    size = count if settings.clip == BATCH else settings.micro_batch
    return [indices[begin : begin + size] for begin in range(0, count, size)]


class ClippedMean:
    """The weighted mean of clipped gradients, as a running sum: memory for one gradient, for any number.

    A gradient is a sequence of tensors, whose norm is that of all of them together.

    Args:
        like: Tensors of a gradient's shapes, of one type and on one device.
        bound: The bound on the norm of each gradient; None for the smallest norm among them.

    Attributes:
        flat: The sum so far (d,).
        sums: Its views in the shapes of `like`.
        weight: The sum of the weights.
        smallest: The smallest norm above 0; infinite without one.

    Example:
        >>> mean = ClippedMean([torch.zeros(2)], bound=1.0)
        >>> mean.add([torch.tensor([3.0, 4.0])], weight=1.0)
        >>> mean.add([torch.tensor([0.0, 0.5])], weight=3.0)
        >>> mean.result()[0]
        tensor([0.1500, 0.5750])
    """

    def __init__(self, like: Sequence[Tensor], bound: float | None) -> None:
        sizes = [one.numel() for one in like]
        self.flat = torch.zeros(sum(sizes), dtype=like[0].dtype, device=like[0].device)
        views = zip(self.flat.split(sizes), like, strict=True)  # type: ignore[no-untyped-call]
        self.sums = [view.view(one.shape) for view, one in views]
        self.bound = bound
        self.weight, self.smallest = 0.0, math.inf

    @classmethod
    def of(cls, settings: LearningSettings, like: Sequence[Tensor], gradient_clip: float) -> ClippedMean:
        """The mean that `settings` describe."""
        return cls(like, None if settings.clip == ADAPTIVE else gradient_clip)

    def reset_(self) -> None:
        """Begin a new mean, in the same memory."""
        self.flat.zero_()
        self.weight, self.smallest = 0.0, math.inf

    def add(self, gradient: Sequence[Tensor | None], weight: float) -> None:
        """Clip a gradient and add it. None stands for zeros; a weight of 0 leaves it out."""
        if weight == 0:
            return
        self.weight += weight
        norm = norm_of(gradient)
        if norm < NOTHING:
            return
        self.smallest = min(self.smallest, norm)
        # Scaled to norm 1 now, and to the smallest norm once it is known.
        scale = 1 / norm if self.bound is None else min(1.0, self.bound / norm)
        for total, one in zip(self.sums, gradient, strict=True):
            if one is not None:
                total.add_(one, alpha=weight * scale)

    def result(self) -> list[Tensor]:
        """The mean, in the memory of the sum; zeros without any gradient. Call `reset_` before the next."""
        scale = 1.0 if self.bound is not None or math.isinf(self.smallest) else self.smallest
        self.flat.mul_(scale / (self.weight or 1.0))
        return self.sums


def norm_of(gradient: Sequence[Tensor | None]) -> float:
    """The Euclidean norm of all tensors together; None stands for zeros.

    Example:
        >>> norm_of([torch.tensor([3.0]), None, torch.tensor([[4.0]])])
        5.0
    """
    norms = [one.norm() for one in gradient if one is not None]
    return float(torch.stack(norms).norm()) if norms else 0.0
