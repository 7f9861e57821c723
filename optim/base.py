"""Common parts of all optimisers: the protocol, the choice by name, and the state that a checkpoint holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Protocol

import torch
from torch import Tensor

from base.registries import SERVER_OPTIMISERS
from privacy import LayerLayout
from privacy.validate import finite

BLOCK = 1 << 20  # coordinates per block: scratch memory for one block, never for a whole model


class ServerOptimiser(Protocol):
    """The interface that a strategy uses."""

    def step_(self, vector: Tensor, pseudo_gradient: Tensor, learning_rate: float) -> None:
        """Move `vector` (d,) in place against `pseudo_gradient` (d,)."""

    def state_dict(self) -> dict[str, Tensor]:
        """The state as named tensors, for a checkpoint."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load the state of a checkpoint."""


def settings_of(name: str) -> tuple[str, ...]:
    """The names of the settings of the optimiser `name`, without its layout.

    Raises:
        ValueError: for a name that is not registered; the message lists all names.

    Example:
        >>> settings_of("adam")
        ('beta1', 'beta2', 'epsilon')
    """
    return tuple(one.name for one in fields(SERVER_OPTIMISERS[name]) if one.init and one.name != "layout")


def make_optimiser(name: str, layout: LayerLayout | None = None, **settings: float) -> ServerOptimiser:
    """Make the optimiser `name` with `settings`.

    Args:
        name: a name in `base.registries.SERVER_OPTIMISERS`.
        layout: the model's layout; a layer-wise optimiser needs it.
        settings: values for the optimiser's fields, by name.

    Raises:
        ValueError: for an unknown name or setting (the message lists the known ones), or for a missing
            layout.

    Example:
        >>> optimiser = make_optimiser("sgd", momentum=0.0)
        >>> type(optimiser).__name__, optimiser.momentum
        ('SGD', 0.0)
    """
    cls, known = SERVER_OPTIMISERS[name], settings_of(name)
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ValueError(f"server optimiser {name!r} has no setting {unknown}; it has {sorted(known)}")
    layerwise = any(one.name == "layout" for one in fields(cls))
    if layerwise and layout is None:
        raise ValueError(f"server optimiser {name!r} works layer by layer: pass the model's layout")
    optimiser: ServerOptimiser = cls(**settings, **({"layout": layout} if layerwise else {}))
    return optimiser


SMALLEST = torch.finfo(torch.float32).tiny  # weights and buffers are float32
# Each setting, its smallest value, and the value that it must stay below.
RANGES: dict[str, tuple[float, float]] = {
    "beta1": (0.0, 1.0),
    "beta2": (0.0, 1.0),
    "momentum": (0.0, 1.0),
    "epsilon": (SMALLEST, float("inf")),  # with 0, a coordinate that never changed becomes NaN
    "initial_accumulator": (0.0, float("inf")),
    "trust_coefficient": (0.0, float("inf")),
    "trust_ratio_cap": (0.0, float("inf")),
    "weight_decay": (0.0, float("inf")),
}


@dataclass(kw_only=True)
class FlatOptimiser:
    """Base of optimisers whose state is the number of steps and some buffers of the model's size.

    A subclass declares its settings as fields, names its buffers in `initial_values`, and makes a step in
    `_step_`. Buffers are made at the first step. Only `load_state_dict` replaces them.

    Raises:
        ValueError: for a setting outside its range in `RANGES`.

    Example:
        >>> @dataclass(kw_only=True)
        ... class SignDescent(FlatOptimiser):
        ...     def initial_values(self):
        ...         return {}
        ...     def _step_(self, vector, pseudo_gradient, learning_rate):
        ...         vector.sub_(pseudo_gradient.sign(), alpha=learning_rate)
        >>> vector = torch.zeros(2)
        >>> SignDescent().step_(vector, torch.tensor([3.0, -0.2]), learning_rate=0.5)
        >>> vector
        tensor([-0.5000,  0.5000])
    """

    _steps: int = field(default=0, init=False)
    _buffers: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for one in fields(self):
            if one.name not in RANGES:
                continue
            value, (low, end) = finite(**{one.name: getattr(self, one.name)}), RANGES[one.name]
            if not low <= value < end:
                raise ValueError(f"Expected {low:g} <= {one.name} < {end:g}, got {one.name}={value!r}.")

    def initial_values(self) -> dict[str, float]:
        """The name of each buffer, and the value that it starts from."""
        raise NotImplementedError

    def _step_(self, vector: Tensor, pseudo_gradient: Tensor, learning_rate: float) -> None:
        raise NotImplementedError

    def step_(self, vector: Tensor, pseudo_gradient: Tensor, learning_rate: float) -> None:
        """Move `vector` (d,) in place against `pseudo_gradient` (d,), which does not change.

        Raises:
            ValueError: if the two, and the buffers of earlier steps, differ in shape.
        """
        shapes = {tuple(one.shape) for one in (vector, pseudo_gradient, *self._buffers.values())}
        if len(shapes) != 1:
            raise ValueError(f"vector, pseudo-gradient and state differ in shape: {sorted(shapes)}")
        for name, value in self.initial_values().items():
            if name not in self._buffers:
                self._buffers[name] = torch.full_like(vector, value)
        self._steps += 1
        self._step_(vector, pseudo_gradient, learning_rate)

    def reset_(self) -> None:
        """Start again from the initial state, in the existing buffers."""
        self._steps = 0
        for name, value in self.initial_values().items():
            if name in self._buffers:
                self._buffers[name].fill_(value)

    def state_dict(self) -> dict[str, Tensor]:
        """The buffers (not copies) and the number of steps; empty before the first step."""
        return {"steps": torch.tensor(self._steps), **self._buffers} if self._steps else {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load a copy of buffers and steps. An empty state starts again from the initial state.

        Raises:
            ValueError: if the state is that of another optimiser.
        """
        if not state:
            return self.reset_()
        expected = {"steps", *self.initial_values()}
        if set(state) != expected:
            raise ValueError(
                f"the state holds {sorted(state)}, {type(self).__name__} needs {sorted(expected)}: "
                "resume with the optimiser and the settings that the run was started with"
            )
        self._steps = int(state["steps"])
        self._buffers = {name: state[name].clone() for name in self.initial_values()}

    def _blocks(self, *vectors: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Corresponding blocks of `vectors` and, in the order of `initial_values`, of the buffers."""
        everything = (*vectors, *(self._buffers[name] for name in self.initial_values()))
        for start in range(0, vectors[0].numel(), BLOCK):
            yield tuple(one[start : start + BLOCK] for one in everything)


def moments_(first: Tensor, second: Tensor, gradient: Tensor, beta1: float, beta2: float) -> None:
    """Adam's exponential means of the gradient and of its square, in place."""
    first.lerp_(gradient, 1 - beta1)
    second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
