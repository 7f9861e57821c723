"""A server optimiser: steps by the sign of a momentum."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import hardshrink

from optim import FlatOptimiser


@dataclass(kw_only=True)
class SignMomentum(FlatOptimiser):
    """b <- beta1 b + (1 - beta1) g; v <- v - rate * sign(b) where |b| > dead_zone.

    Its fields are its settings. A setting that the section `server` of a recipe has too (`beta1`) comes from
    there, others come from `server.optimiser-settings`.
    """

    beta1: float = 0.9
    dead_zone: float = 0.0

    def initial_values(self) -> dict[str, float]:
        """The momentum starts at 0."""
        return {"momentum": 0.0}

    def _step_(self, vector: Tensor, pseudo_gradient: Tensor, learning_rate: float) -> None:
        for weights, gradient, momentum in self._blocks(vector, pseudo_gradient):
            momentum.lerp_(gradient, 1 - self.beta1)
            weights.sub_(hardshrink(momentum, self.dead_zone).sign(), alpha=learning_rate)
