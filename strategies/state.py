"""All that a strategy must keep between two rounds, as named tensors: what a checkpoint holds.

The model vector, the optimiser's state and the strategy's own. Everything here was released already, so it
may be stored; a noise key is in none of it.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from strategies.dp_fed_opt import DPFedOpt

_VECTOR, _OPTIMISER, _STRATEGY = "vector", "optimiser.", "strategy."


def state_of(strategy: DPFedOpt) -> dict[str, Tensor]:
    """The state; the tensors are the strategy's own, not copies."""
    return {
        _VECTOR: strategy.vector,
        **{_OPTIMISER + name: value for name, value in strategy.optimiser.state_dict().items()},
        **{_STRATEGY + name: value for name, value in strategy.state_dict().items()},
    }


def load_state(strategy: DPFedOpt, state: Mapping[str, Tensor]) -> None:
    """Take a `state_of` a strategy of the same layout, plan, mechanisms and optimiser."""
    strategy.vector.copy_(state[_VECTOR])
    strategy.optimiser.load_state_dict(_part(state, _OPTIMISER))
    strategy.load_state_dict(_part(state, _STRATEGY))


def _part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): state[name] for name in state if name.startswith(prefix)}
