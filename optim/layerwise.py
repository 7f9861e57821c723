"""Optimisers that scale the step of each layer by the norm of the layer over the norm of its update.

They are LAMB and LARS. With clipping and noise, the size of an update has little meaning, but its direction
has; so the paper's server uses LAMB. A layer is a slice of the vector, as everywhere. Single scalars and
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
    """Base of optimisers that work layer by layer.

    Args:
        layout: the model's layout.

    Example:
        >>> LAMB(layout=LayerLayout.of({"weight": (2,)})).layout.names
        ('weight',)
    """

    layout: LayerLayout

    def _layers(self, *vectors: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Like `_blocks`, but one layer at a time."""
        everything = (*vectors, *(self._buffers[name] for name in self.initial_values()))
        if vectors[0].numel() != self.layout.size:
            raise ValueError(f"the vector has {vectors[0].numel()} values, the layout {self.layout.size}")
        for begin, size in zip(self.layout.offsets, self.layout.sizes, strict=False):
            yield tuple(one[begin : begin + size] for one in everything)


@dataclass(kw_only=True)
class LAMB(LayerwiseOptimiser):
    """LAMB (You et al. 2020) with bias correction, as in `optax.lamb`, which the paper used.

    `trust_ratio_cap` limits the ratio of norms (0: no cap, as in optax). A cap limits the first steps of a
    layer with large weights and tiny updates. `weight_decay` is decoupled.

    Example:
        >>> vector = torch.tensor([3.0, 4.0])
        >>> optimiser = LAMB(layout=LayerLayout.of({"weight": (2,)}))
        >>> optimiser.step_(vector, torch.tensor([1.0, 1.0]), learning_rate=0.1)
        >>> vector  # the step's norm is the learning rate times the layer's norm
        tensor([2.6464, 3.6464])
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-6
    trust_ratio_cap: float = 0.0
    weight_decay: float = 0.0

    def initial_values(self) -> dict[str, float]:
        """The first and the second moment start from 0."""
        return {"first": 0.0, "second": 0.0}

    def _step_(self, vector: Tensor, pseudo_gradient: Tensor, learning_rate: float) -> None:
        """Per layer: u = m_hat / (sqrt(s_hat) + epsilon) + decay * v; v <- v - lr * |v| / |u| * u."""
        number = vector.numpy().dtype.type  # a constant of a longer type would widen all arithmetic
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
    """LARS (You et al. 2017), as in `optax.lars`: the learning rate is applied before the momentum.

    `weight_decay` is added to the gradient before its norm is computed (You et al. add the two norms).

    Example:
        >>> vector = torch.tensor([3.0, 4.0])
        >>> optimiser = LARS(layout=LayerLayout.of({"weight": (2,)}), trust_coefficient=0.1)
        >>> optimiser.step_(vector, torch.tensor([0.0, 2.0]), learning_rate=1.0)
        >>> vector
        tensor([3.0000, 3.5000])
    """

    momentum: float = 0.9
    trust_coefficient: float = 0.001
    weight_decay: float = 0.0

    def initial_values(self) -> dict[str, float]:
        """The velocity, in units of a step, starts from 0."""
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
