"""What a training starts from: a preset with new parameters, or any recogniser, with a part of it frozen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from speech.model.ctc_transformer import build_model
from speech.model.recogniser import Recogniser
from speech.pretraining.config import PretrainConfig
from speech.text import Alphabet


@dataclass(frozen=True, kw_only=True)
class Start:
    """How the model of a training is made, and everything that determines it.

    `make` takes the characters of the corpus. What it freezes stays as it is; a model that starts from its
    stem (`Recogniser.start_from_stem`) is trained on the activations of the stem. `identity` names, fit for
    JSON, what determines the model beside the configuration of the training.

    Example:
        >>> from speech.text import ENGLISH
        >>> Start.of_preset(PretrainConfig(preset="tiny")).make(ENGLISH).front_end.width
        40
    """

    make: Callable[[Alphabet], Recogniser]
    identity: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_preset(cls, config: PretrainConfig) -> "Start":
        """The preset of the configuration, with new parameters."""
        return cls(
            make=lambda alphabet: build_model(
                config.preset,
                alphabet,
                seed=config.random_seed,
                dropout=config.dropout,
                layer_drop=config.layer_drop,
            )
        )


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """Return what training changes, by name: the parameters that are not frozen."""
    return {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}


def load_trained_state_(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy the tensors of `trained_state` back into such a model."""
    for name, value in trained_state(model).items():
        value.copy_(tensors[name])
