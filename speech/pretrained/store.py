"""Where pre-trained models are kept by their names: `$MURMUR_HOME/models`, or `~/.murmuration/models`."""

import os
import re
from pathlib import Path

from speech.errors import ModelError
from speech.pretrained.folder import ModelFolder

_STORED = re.compile(r"[\w.-]+/[\w.-]+")


def models_folder() -> Path:
    """Return the folder of the store, which need not exist."""
    chosen = os.environ.get("MURMUR_HOME")
    return (Path(chosen).expanduser() if chosen else Path.home() / ".murmuration").absolute() / "models"


def is_stored_name(name: str) -> bool:
    """Whether a name is one of the store's, owner/model, and no path.

    Example:
        >>> is_stored_name("openai/whisper-tiny.en"), is_stored_name("/models/x"), is_stored_name("../x")
        (True, False, False)
    """
    return bool(_STORED.fullmatch(name)) and not {".", ".."} & set(name.split("/"))


def stored_path(name: str) -> Path:
    """Return where the store keeps a model of this name."""
    return models_folder() / name


def find_folder(name: str) -> ModelFolder:
    """Return the folder of a model by its name in the store, or by its path.

    Raises:
        ModelError: If there is none.
    """
    if Path(name).is_absolute():
        return ModelFolder(Path(name))
    if is_stored_name(name) and stored_path(name).is_dir():
        return ModelFolder(stored_path(name))
    raise ModelError(
        f"model.name = {name!r}: no preset, no folder, and no model in {models_folder()}; `murmur model get "
        f"{name}` fetches it where there is a network, `murmur model add {name} FOLDER` takes a copy."
    )
