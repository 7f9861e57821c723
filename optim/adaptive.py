"""Optimisers with a step size per coordinate: Adam, Yogi, AdaGrad."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from optim.base import FlatOptimiser, moments_


@dataclass(kw_only=True)
class Adam(FlatOptimiser):
    """Adam (Kingma & Ba 2015) with bias correction: the server side of FedAdam (Reddi et al. 2021).

    Example:
        >>> vector = torch.tensor([1.0, -1.0])
        >>> Adam().step_(vector, torch.tensor([0.5, -0.5]), learning_rate=0.1)
        >>> vector  # the first step has the size of the learning rate
        tensor([ 0.9000, -0.9000])
    """

    beta1: float = 0.9
    beta2: float = 0.99
    epsilon: float = 1e-6

    def initial_values(self) -> dict[str, float]:
        """The first and the second moment start from 0."""
        return {"first": 0.0, "second": 0.0}

    def _step_(self, vector: Tensor, pseudo_gradient: Tensor, learning_rate: float) -> None:
        """v <- v - lr * m_hat / (sqrt(s_hat) + epsilon)."""
        step_size = learning_rate / (1 - self.beta1**self._steps)
        correction = 1 - self.beta2**self._steps
        for weights, gradient, first, second in self._blocks(vector, pseudo_gradient):
            moments_(first, second, gradient, self.beta1, self.beta2)
            root = second.div(correction).sqrt_().add_(self.epsilon)
            weights.addcdiv_(first, root, value=-step_size)


@dataclass(kw_only=True)
class Yogi(FlatOptimiser):
    """Yogi (Zaheer et al. 2018) with bias correction, as in `optax.yogi`, which the paper used.

    It is Adam, except that the second moment changes by at most (1 - beta2) g^2 per step, so that it cannot
    collapse after rounds with small updates. Both moments start from `initial_accumulator`.

    Example:
        >>> vector = torch.tensor([1.0, -1.0])
        >>> Yogi(epsilon=1e-6).step_(vector, torch.tensor([0.5, -0.5]), learning_rate=0.1)
        >>> vector
        tensor([ 0.9002, -0.9002])
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-3
    initial_accumulator: float = 1e-6

    def initial_values(self) -> dict[str, float]:
        """The first and the second moment start from `initial_accumulator`."""
        return {"first": self.initial_accumulator, "second": self.initial_accumulator}

    def _step_(self, vector: Tensor, pseudo_gradient: Tensor, learning_rate: float) -> None:
        """s <- s - (1 - beta2) sign(s - g^2) g^2; all else as in Adam."""
        step_size = learning_rate / (1 - self.beta1**self._steps)
        correction = 1 - self.beta2**self._steps
        for weights, gradient, first, second in self._blocks(vector, pseudo_gradient):
            square = gradient * gradient
            first.lerp_(gradient, 1 - self.beta1)
            second.addcmul_(torch.sign(second - square), square, value=self.beta2 - 1)
            root = second.div(correction).sqrt_().add_(self.epsilon)
            weights.addcdiv_(first, root, value=-step_size)


@dataclass(kw_only=True)
class AdaGrad(FlatOptimiser):
    """AdaGrad (Duchi et al. 2011): the server side of FedAdaGrad (Reddi et al. 2021) without momentum.

    Example:
        >>> vector, optimiser = torch.zeros(1), AdaGrad()
        >>> for _ in range(2):
        ...     optimiser.step_(vector, torch.ones(1), learning_rate=1.0)
        >>> vector  # -1 - 1 / sqrt(2)
        tensor([-1.7071])
    """

    epsilon: float = 1e-6
    initial_accumulator: float = 0.0

    def initial_values(self) -> dict[str, float]:
        """The sum of squared gradients starts from `initial_accumulator`."""
        return {"sum": self.initial_accumulator}

    def _step_(self, vector: Tensor, pseudo_gradient: Tensor, learning_rate: float) -> None:
        """v <- v - lr * g / (sqrt(sum of g^2) + epsilon)."""
        for weights, gradient, total in self._blocks(vector, pseudo_gradient):
            total.addcmul_(gradient, gradient)
            weights.addcdiv_(gradient, total.sqrt().add_(self.epsilon), value=-learning_rate)
