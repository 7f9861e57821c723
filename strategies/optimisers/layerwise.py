"""Optimisers that scale each layer's step by the ratio of the layer's norm to its update's: LAMB, LARS.

Under clipping and noise the size of an update says little (its direction is what a round learns), which
is why the paper's server runs LAMB. A layer is a slice of the vector, as everywhere; single scalars and
biases are layers like all others, as in optax.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from privacy import LayerLayout
from strategies.optimisers.base import FlatOptimiser, moments_, server_optimiser


@dataclass(kw_only=True)
class LayerwiseOptimiser(FlatOptimiser):
    """A flat optimiser that knows where the layers lie."""

    layout: LayerLayout

    def _layers(self, *vectors: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """As `_blocks`, a layer at a time."""
        everything = (*vectors, *(self._buffers[name] for name in self.initial_values()))
        if vectors[0].numel() != self.layout.size:
            raise ValueError(f"the vector has {vectors[0].numel()} values, the layout {self.layout.size}")
        for begin, size in zip(self.layout.offsets, self.layout.sizes, strict=False):
            yield tuple(one[begin : begin + size] for one in everything)


@server_optimiser("lamb")
@dataclass(kw_only=True)
class LAMB(LayerwiseOptimiser):
    """LAMB (You et al. 2020), bias-corrected, as `optax.lamb`, which the paper used.

    `trust_ratio_cap` bounds the ratio of norms (0: no cap, as in optax); a cap keeps the first rounds of
    a layer with large weights and tiny updates in hand. `weight_decay` is decoupled.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-6
    trust_ratio_cap: float = 0.0
    weight_decay: float = 0.0

    def initial_values(self) -> dict[str, float]:
        """First and second moment."""
        return {"first": 0.0, "second": 0.0}

    def _step_(self, vector: Tensor, pseudo_gradient: Tensor, learning_rate: float) -> None:
        """Per layer: u = m_hat / (sqrt(s_hat) + epsilon) + decay * v; v <- v - lr * |v| / |u| * u."""
        first_correction = 1 - self.beta1**self._steps
        second_correction = 1 - self.beta2**self._steps
        for weights, gradient, first, second in self._layers(vector, pseudo_gradient):
            moments_(first, second, gradient, self.beta1, self.beta2)
            root = second.div(second_correction).sqrt_().add_(self.epsilon).mul_(first_correction)
            update = torch.div(first, root, out=root)
            if self.weight_decay:
                update.add_(weights, alpha=self.weight_decay)
            ratio = trust_ratio(weights, update)
            ratio = min(ratio, self.trust_ratio_cap) if self.trust_ratio_cap else ratio
            weights.add_(update, alpha=-learning_rate * ratio)


@server_optimiser("lars")
@dataclass(kw_only=True)
class LARS(LayerwiseOptimiser):
    """LARS (You et al. 2017), as `optax.lars`: the learning rate enters before the momentum.

    `weight_decay` is added to the gradient before its norm is taken (You et al. add the two norms).
    """

    momentum: float = 0.9
    trust_coefficient: float = 0.001
    weight_decay: float = 0.0

    def initial_values(self) -> dict[str, float]:
        """The velocity, in units of a step."""
        return {"velocity": 0.0}

    def _step_(self, vector: Tensor, pseudo_gradient: Tensor, learning_rate: float) -> None:
        """Per layer: b <- momentum * b + lr * trust * |v| / |g| * g; v <- v - b."""
        for weights, gradient, velocity in self._layers(vector, pseudo_gradient):
            if self.weight_decay:
                gradient = gradient.add(weights, alpha=self.weight_decay)
            ratio = trust_ratio(weights, gradient, self.trust_coefficient)
            velocity.mul_(self.momentum).add_(gradient, alpha=learning_rate * ratio)
            weights.sub_(velocity)


def trust_ratio(weights: Tensor, update: Tensor, coefficient: float = 1.0) -> float:
    """coefficient * |weights| / |update|, or 1 where either norm is 0 (as in optax)."""
    above, below = (float(torch.linalg.vector_norm(one, dtype=torch.float64)) for one in (weights, update))
    return coefficient * above / below if above > 0 and below > 0 else 1.0
