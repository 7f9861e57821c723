"""Writes the adapters of a pre-trained model as a folder of `peft`, which is not needed for that.

What else was trained (a new head, layer norms, biases of layers without adapters) is saved as peft's
`modules_to_save`.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from base.durable_folder import new_folder
from speech.errors import ExportError
from speech.export.huggingface import (
    copy_settings,
    require_free,
    require_pretrained,
    write_description,
)
from speech.export.whole_model import has_new_head
from speech.model.adapters import AdaptedPointwise, adapted_layers, is_adapter
from speech.model.checkpoint import LoadedModel
from speech.pretrained.base import PretrainedRecogniser
from speech.pretrained.store import is_stored_name

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_INSIDE = "base."  # the library's model in a recogniser
_PREFIX = "base_model.model."


def write_peft(
    loaded: LoadedModel, path: Path, metadata: Mapping[str, str], readme: str, *, trained: Collection[str]
) -> None:
    """Write a folder that `peft.PeftModel.from_pretrained(base, path)` loads.

    It names the base model as the recipe does, and no folder of this machine: the folder is published.

    Args:
        loaded: A pre-trained model with adapters.
        path: The folder, which must be missing or empty.
        metadata: What `describe` says of it.
        readme: Its model card.
        trained: The names of the parameters that differ from the base model's: those of the model file.

    Raises:
        ExportError: For a model without adapters, one whose other trained parameters peft cannot hold, and a
            folder with something in it.
    """
    model = require_pretrained(loaded)
    require_free(path)
    if not adapted_layers(model.base):
        raise ExportError(
            f"{loaded.preset}: this model has no adapters, so there are none to write; export it with "
            "--format huggingface."
        )
    saved = _saved_modules(model, trained)
    with new_folder(path) as folder:
        save_file(_tensors(model.base, saved), folder / WEIGHTS, metadata={"format": "pt"})
        (folder / CONFIG).write_text(json.dumps(_config(loaded, model, saved), indent=2), encoding="utf-8")
        if has_new_head(model):
            copy_settings(model, folder)
        write_description(folder, metadata, readme)


def _config(loaded: LoadedModel, model: PretrainedRecogniser, saved: Iterable[str]) -> dict[str, Any]:
    adapters = model.choice.adapters
    whole = float(adapters.alpha).is_integer()
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": loaded.preset if is_stored_name(loaded.preset) else None,
        "revision": model.folder.revision or None,
        "inference_mode": True,
        "r": adapters.rank,
        "lora_alpha": int(adapters.alpha) if whole else adapters.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": False,
        "init_lora_weights": True,
        "target_modules": list(adapted_layers(model.base)),
        "modules_to_save": sorted(saved) or None,
    }


def _tensors(base: nn.Module, saved: Iterable[str]) -> dict[str, Tensor]:
    found = {}
    for name, layer in adapted_layers(base).items():
        factors = {"lora_A": layer.lora_A, "lora_B": layer.lora_B}
        for factor, value in factors.items():
            shaped = value.unsqueeze(-1) if isinstance(layer, AdaptedPointwise) else value
            found[f"{_PREFIX}{name}.{factor}.weight"] = shaped
    for module in saved:
        for name, value in base.get_submodule(module).named_parameters():
            found[f"{_PREFIX}{module}.{name}"] = value
    return {name: value.detach().cpu().contiguous().clone() for name, value in found.items()}


def _saved_modules(model: PretrainedRecogniser, trained: Collection[str]) -> set[str]:
    """The modules that hold what was trained beside adapters.

    Raises:
        ExportError: If one of them has an adapter too, or has parts of its own.
    """
    names = [name.removeprefix(_INSIDE) for name in trained if not is_adapter(name)]
    adapted, found = adapted_layers(model.base), set()
    for name in names:
        module = name.rpartition(".")[0]
        if module in adapted or not module or list(model.base.get_submodule(module).children()):
            raise ExportError(
                f"{name!r} was trained beside the adapters, and peft's layout has no place for it; export it "
                "merged, with --format huggingface."
            )
        found.add(module)
    return found
