"""The optimisers of central training: torch's AdamW, and LAMB and LARS of pytorch-optimizer.

The paper trained its seed models with LARS (arXiv 2310.00098, App. F). The LARS of pytorch-optimizer has no
trust ratio for biases and other vectors: for those it is SGD with momentum.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from speech.pretraining.config import PretrainConfig


def make_optimiser(parameters: Iterable[nn.Parameter], config: PretrainConfig) -> Optimizer:
    """Make the optimiser that `config` names, for `parameters`."""
    return _MAKERS[config.optimiser](list(parameters), config)


def _adamw(parameters: list[nn.Parameter], config: PretrainConfig) -> Optimizer:
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(
        parameters, lr=config.learning_rate, betas=betas, weight_decay=config.weight_decay, fused=True
    )


def _lamb(parameters: list[nn.Parameter], config: PretrainConfig) -> Optimizer:
    from pytorch_optimizer import Lamb  # its import takes over a second, and few trainings need it

    betas = (config.beta1, config.beta2)
    return Lamb(parameters, lr=config.learning_rate, betas=betas, weight_decay=config.weight_decay)


def _lars(parameters: list[nn.Parameter], config: PretrainConfig) -> Optimizer:
    from pytorch_optimizer import LARS

    return LARS(
        parameters,
        lr=config.learning_rate,
        momentum=config.momentum,
        trust_coefficient=config.trust_coefficient,
        weight_decay=config.weight_decay,
    )


_MAKERS: dict[str, Callable[[list[nn.Parameter], PretrainConfig], Optimizer]] = {
    "adamw": _adamw,
    "lamb": _lamb,
    "lars": _lars,
}


def state_tensors(optimiser: Optimizer) -> dict[str, Tensor]:
    """Return the state of the optimiser as named tensors, without its settings."""
    state = optimiser.state_dict()
    tensors = {
        f"{number}.{name}": value for number, of in state["state"].items() for name, value in of.items()
    }
    for number, group in enumerate(state["param_groups"]):
        if "step" in group:  # pytorch-optimizer counts in the group, torch in the state
            tensors[f"group.{number}.step"] = torch.tensor(group["step"])
    return tensors


def load_state_tensors(optimiser: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Load the state from `state_tensors` into a new optimiser with the same settings."""
    groups = optimiser.state_dict()["param_groups"]
    state: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        if number == "group":
            groups[int(name.split(".")[0])]["step"] = int(value)
        else:
            state.setdefault(int(number), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": groups})
