"""Server optimisers on the flat vector. They run after the noise: post-processing, free of charge.

The pseudo-gradient is the mean of "old minus new" over the cohort (paper, Algorithm 1), so a step goes
against it, as against any gradient. Every optimiser works in place on buffers it owns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import torch
from torch import Tensor


class ServerOptimiser(Protocol):
    """What a strategy asks of an optimiser."""

    def step_(self, vector: Tensor, pseudo_gradient: Tensor, learning_rate: float) -> None:
        """Move `vector` (d,) in place against `pseudo_gradient` (d,)."""

    def state_dict(self) -> dict[str, Tensor]:
        """The state as named tensors, for a checkpoint."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take the state of a checkpoint."""


Optimiser = TypeVar("Optimiser", bound=type)
_REGISTRY: dict[str, type] = {}


def server_optimiser(name: str) -> Callable[[Optimiser], Optimiser]:
    """Register a class under the name that recipes use."""

    def register(cls: Optimiser) -> Optimiser:
        if name in _REGISTRY:
            raise ValueError(f"server optimiser {name!r} is registered already")
        _REGISTRY[name] = cls
        return cls

    return register


def make_optimiser(name: str, **settings: float) -> ServerOptimiser:
    """The registered optimiser `name`, made with `settings`.

    Raises
    ------
    ValueError
        For a name that is not registered; the message lists those that are.
    """
    if name not in _REGISTRY:
        raise ValueError(f"server optimiser {name!r} is unknown; known: {sorted(_REGISTRY)}")
    optimiser: ServerOptimiser = _REGISTRY[name](**settings)
    return optimiser


@server_optimiser("adam")
@dataclass(kw_only=True)
class Adam:
    """Adam (Kingma & Ba 2015) with bias correction: the server side of FedAdam (Reddi et al. 2021)."""

    beta1: float = 0.9
    beta2: float = 0.99
    epsilon: float = 1e-6
    _steps: int = field(default=0, init=False)
    _first: Tensor | None = field(default=None, init=False)
    _second: Tensor | None = field(default=None, init=False)

    def step_(self, vector: Tensor, pseudo_gradient: Tensor, learning_rate: float) -> None:
        """One bias-corrected step: v <- v - lr * m_hat / (sqrt(s_hat) + epsilon)."""
        if self._first is None or self._second is None:
            self._first, self._second = torch.zeros_like(vector), torch.zeros_like(vector)
        self._steps += 1
        self._first.lerp_(pseudo_gradient, 1 - self.beta1)
        self._second.mul_(self.beta2)
        self._second.addcmul_(pseudo_gradient, pseudo_gradient, value=1 - self.beta2)
        step_size = learning_rate / (1 - self.beta1**self._steps)
        root = self._second.div(1 - self.beta2**self._steps).sqrt_().add_(self.epsilon)
        vector.addcdiv_(self._first, root, value=-step_size)

    def state_dict(self) -> dict[str, Tensor]:
        """Moments and the number of steps; empty before the first step."""
        if self._first is None or self._second is None:
            return {}
        return {
            "steps": torch.tensor(self._steps),
            "first": self._first,
            "second": self._second,
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take moments and steps; an empty state starts afresh."""
        self._steps = int(state["steps"]) if state else 0
        self._first = state["first"].clone() if state else None
        self._second = state["second"].clone() if state else None
