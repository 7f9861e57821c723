"""The part of a model file that says of which model it is, and what was trained of it.

Files of plain presets have no such part (`speech.model.checkpoint`). A file of a pre-trained model, or of one
with adapters, describes the choice that makes the model and holds the parameters that were trained.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from speech.errors import CheckpointMismatch, ModelError
from speech.model.adapters import Adapters, adapted_layers, is_adapter
from speech.model.choice import ModelChoice
from speech.model.recogniser import Recogniser
from speech.pretrained.base import PretrainedRecogniser

MODEL, DIGEST = "model", "base_digest"


def is_adapted(model: nn.Module) -> bool:
    """Whether a model has adapters."""
    return bool(adapted_layers(model))


def is_described(metadata: Mapping[str, str]) -> bool:
    """Whether the metadata of a file describe a choice."""
    return MODEL in metadata


def metadata(model: Recogniser) -> dict[str, str]:
    """Return what describes `model`, which a `ModelChoice` has made."""
    choice = model.choice
    described = asdict(replace(choice, folder=None))
    del described["folder"]
    found = {
        "preset": choice.name,
        MODEL: json.dumps(described, sort_keys=True),
        "language": model.alphabet.language,
        "characters": model.alphabet.characters,
    }
    if isinstance(model, PretrainedRecogniser):
        found[DIGEST] = model.folder.digest
        found["licence"], found["revision"] = model.folder.licence, model.folder.revision
    return found


def tensors(model: Recogniser) -> dict[str, Tensor]:
    """Return what a file holds: all parameters of a preset, what was trained of a pre-trained model.

    That includes what an earlier training changed, and this one does not.
    """
    everything = not isinstance(model, PretrainedRecogniser)
    return {
        name: value.detach().cpu()
        for name, value in model.named_parameters()
        if everything or value.requires_grad or is_adapter(name) or name in model.from_file
    }


def choice_of(
    path: Path, metadata: Mapping[str, str], folder: Path | None, *, wanted: str | None = None
) -> ModelChoice:
    """Return the choice that a file describes.

    Args:
        path: The file, for messages.
        metadata: Its metadata.
        folder: Where the pre-trained model is; by default where its name says.
        wanted: If given, the name of the model that it must be of. Folders may have other paths elsewhere.

    Raises:
        CheckpointMismatch: For a description that this code does not know, and for another model.
        ModelError: If the pre-trained model is not here.
    """
    try:
        described: dict[str, Any] = json.loads(metadata[MODEL])
        adapters = described.pop("adapters")
        choice = ModelChoice(**described, adapters=Adapters(**adapters) if adapters else None, folder=folder)
    except (ValueError, TypeError, KeyError, AttributeError, ModelError, RecursionError) as error:
        raise CheckpointMismatch(
            f"{path}: its description of the model cannot be read ({error}); use the release that wrote it."
        ) from None
    if wanted is not None and wanted != choice.name:
        other = ModelChoice(name=wanted, folder=folder)
        if choice.is_preset or other.is_preset:
            raise CheckpointMismatch(
                f"{path}: a model made of {choice.name!r}, {wanted!r} is needed; change model.name, or give "
                "another model."
            )
        choice = replace(choice, name=wanted)
    if not choice.is_preset and choice.model_folder.digest != metadata.get(DIGEST):
        raise CheckpointMismatch(
            f"{path}: made of a model with the digest {metadata.get(DIGEST)}, and {choice.model_folder.path} "
            f"has {choice.model_folder.digest}; give the folder of the model that it was made of."
        )
    return choice


def copy_tensors_(path: Path, file: Any, model: Recogniser) -> None:
    """Copy the tensors of an open safetensors file into the parameters of `model`.

    Raises:
        CheckpointMismatch: For a tensor that the model does not have, or has in another shape or type.
    """
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name in file.keys():  # noqa: SIM118
            value = file.get_tensor(name)
            known = parameters.get(name)
            if known is None or known.shape != value.shape or value.dtype != torch.float32:
                raise CheckpointMismatch(
                    f"{path}: it holds {name!r} of shape {list(value.shape)} and type {value.dtype}, which "
                    "the model does not have; its adapters or its head differ from the recipe's."
                )
            known.copy_(value)
    model.from_file |= frozenset(file.keys())
