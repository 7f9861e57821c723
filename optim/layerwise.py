"""Optimisers that scale each layer's step by the ratio of the layer's norm to its update's: LAMB, LARS.

Under clipping and noise the size of an update says little (its direction is what a round learns), which
is why the paper's server runs LAMB. A layer is a slice of the vector, as everywhere; single scalars and
biases are layers like all others, as in optax.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from optim.base import FlatOptimiser
from optim.kernels import Direction, follow_, move_moments_
from privacy import LayerLayout


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
        number = vector.numpy().dtype.type  # a constant of a longer type would make all arithmetic as long
        form = Direction(
            first_scale=number(1 / (1 - self.beta1**self._steps)),
            second_scale=number(1 / (1 - self.beta2**self._steps)),
            epsilon=number(self.epsilon),
            decay=number(self.weight_decay),
        )
        rates = (number(1 - self.beta1), number(1 - self.beta2))
        for layer in self._layers(vector, pseudo_gradient):
            weights, gradient, first, second = (one.numpy() for one in layer)
            squares = move_moments_(weights, gradient, first, second, rates, form)
            ratio = trust_ratio(*map(math.sqrt, squares))
            ratio = min(ratio, self.trust_ratio_cap) if self.trust_ratio_cap else ratio
            follow_(weights, first, second, number(learning_rate * ratio), form)


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
            ratio = trust_ratio(_norm(weights), _norm(gradient), self.trust_coefficient)
            velocity.mul_(self.momentum).add_(gradient, alpha=learning_rate * ratio)
            weights.sub_(velocity)


def trust_ratio(weights: float, update: float, coefficient: float = 1.0) -> float:
    """coefficient * |weights| / |update| of their norms, or 1 where either is 0 (as in optax)."""
    return coefficient * weights / update if weights > 0 and update > 0 else 1.0


def _norm(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values, dtype=torch.float64))
