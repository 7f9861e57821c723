"""The state of a strategy between two rounds, as named tensors for a checkpoint.

It holds the model vector, the optimiser's state and the strategy's own. All of it has been released already,
so it may be stored. It contains no noise key.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from strategies.dp_fed_opt import DPFedOpt

VECTOR, _OPTIMISER, _STRATEGY = "vector", "optimiser.", "strategy."


def state_of(strategy: DPFedOpt) -> dict[str, Tensor]:
    """The state; the tensors are the strategy's own, not copies."""
    return {
        VECTOR: strategy.vector,
        **{_OPTIMISER + name: value for name, value in strategy.optimiser.state_dict().items()},
        **{_STRATEGY + name: value for name, value in strategy.state_dict().items()},
    }


def load_state(strategy: DPFedOpt, state: Mapping[str, Tensor]) -> None:
    """Restore a `state_of` of a strategy with the same layout, mechanism and optimiser."""
    strategy.vector.copy_(state[VECTOR])
    strategy.optimiser.load_state_dict(_part(state, _OPTIMISER))
    strategy.load_state_dict(_part(state, _STRATEGY))


def _part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): state[name] for name in state if name.startswith(prefix)}
