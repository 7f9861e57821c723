"""Stochastic gradient descent with or without momentum: the server side of FedAvg and FedAvgM."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from optim.base import FlatOptimiser


@dataclass(kw_only=True)
class SGD(FlatOptimiser):
    """SGD with heavy-ball momentum. With momentum 0 and learning rate 1 it is FedAvg.

    Example:
        >>> import torch
        >>> vector, optimiser = torch.zeros(1), SGD(momentum=0.5)
        >>> for _ in range(2):
        ...     optimiser.step_(vector, torch.ones(1), learning_rate=1.0)
        >>> vector  # -1, then -1.5 more
        tensor([-2.5000])
    """

    momentum: float = 0.9

    def initial_values(self) -> dict[str, float]:
        """The velocity starts from 0. SGD without momentum has no buffer."""
        return {"velocity": 0.0} if self.momentum else {}

    def _step_(self, vector: Tensor, pseudo_gradient: Tensor, learning_rate: float) -> None:
        """b <- momentum * b + g; v <- v - lr * b."""
        if not self.momentum:
            vector.add_(pseudo_gradient, alpha=-learning_rate)
            return
        for weights, gradient, velocity in self._blocks(vector, pseudo_gradient):
            velocity.mul_(self.momentum).add_(gradient)
            weights.add_(velocity, alpha=-learning_rate)
