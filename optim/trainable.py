"""The parameters that a run trains. The others keep the seed model's values and are never sent.

Fewer trained parameters mean less noise at the same privacy: the noise on the mean has the norm
z C sqrt(d) / S, where d counts only the trained ones. Server and nodes must hold the same frozen values; a
digest proves that.
"""

from __future__ import annotations

import hashlib
from fnmatch import fnmatchcase

import torch
from torch import nn

from base.tensor_digest import add_tensors
from recipes import ConfigError
from recipes.model_section import TRAIN_ALL


def trained_names(module: nn.Module, trainable: str) -> list[str]:
    """The names of the parameters to train.

    Args:
        module: the model.
        trainable: "all", or shell patterns separated by commas.

    Raises:
        ConfigError: if a pattern matches no parameter.
    """
    names = [name for name, _ in module.named_parameters()]
    if trainable == TRAIN_ALL:
        return names
    patterns = [pattern.strip() for pattern in trainable.split(",")]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(
                f"model.trainable = {trainable!r}: no parameter of the model matches {pattern!r}; its "
                f"parameters are {', '.join(names)}"
            )
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def freeze(module: nn.Module, trainable: str) -> None:
    """Turn off gradients for all parameters that `trainable` does not name; `bind` leaves those out.

    Args:
        module: the model.
        trainable: as for `trained_names`.

    Raises:
        ConfigError: if a pattern matches no parameter.
    """
    trained = set(trained_names(module, trainable))
    for name, value in module.named_parameters():
        value.requires_grad_(name in trained)


def frozen_digest(module: nn.Module) -> str:
    """SHA-256 (hex) of names, shapes and values of all that is not trained; "" if there is nothing.

    Buffers are a part of it: they do not change. So is a model's `settings_digest`, if it has one: tensors
    do not say how many heads, or which strides, they are for.
    """
    frozen: list[tuple[str, torch.Tensor]] = [
        (name, value) for name, value in module.named_parameters() if not value.requires_grad
    ]
    frozen += [(name, value) for name, value in module.named_buffers()]
    settings = getattr(module, "settings_digest", "")
    digest = hashlib.sha256(settings.encode())
    add_tensors(digest, frozen)
    return digest.hexdigest() if frozen or settings else ""
