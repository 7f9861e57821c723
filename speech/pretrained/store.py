"""Where pre-trained models are kept by their names: `$MURMUR_HOME/models`, or `~/.murmuration/models`.

Guarantee: a name holds a whole model, or nothing. A model in the store is never replaced: a run that names it
and its digest finds the same files later.
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from base.durable_folder import new_folder
from speech.errors import ModelError
from speech.pretrained.folder import REVISION, SETTINGS, WEIGHTS, ModelFolder

KEPT = (*SETTINGS, WEIGHTS, "README.md")
"""The files of a model that are kept: settings, tokeniser, weights and licence. No code is."""

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


def in_store(name: str) -> bool:
    """Whether the store has a model of this name; a path is no name.

    Example:
        >>> in_store("/models/x"), in_store("nobody/has-such-a-model")
        (False, False)
    """
    return is_stored_name(name) and stored_path(name).is_dir()


def find_folder(name: str) -> ModelFolder:
    """Return the folder of a model by its name in the store, or by its path.

    Raises:
        ModelError: If there is none.
    """
    if Path(name).is_absolute():
        return ModelFolder(Path(name))
    if in_store(name):
        return ModelFolder(stored_path(name))
    raise ModelError(
        f"model.name = {name!r}: no preset, no folder, and no model in {models_folder()}; `murmur model get "
        f"{name}` fetches it where there is a network, `murmur model add {name} FOLDER` takes a copy."
    )


def add_model(name: str, folder: Path, revision: str = "") -> ModelFolder:
    """Copy the model in `folder` into the store, under a name.

    Args:
        name: "owner/model".
        folder: In Hugging Face's layout.
        revision: What is noted as its revision; by default what the folder has noted.

    Raises:
        ModelError: If the name is none of the store or taken, or the folder holds no model.
        OSError: If it cannot be written.
    """
    place, given = free_place(name), ModelFolder(folder)
    revision = revision or given.revision
    with new_folder(place) as fresh:
        for file in given.files(*KEPT):
            shutil.copyfile(file, fresh / file.name)
        if revision:
            (fresh / REVISION).write_text(f"{revision}\n", encoding="utf-8")
        ModelFolder(fresh)  # raises, if it lacks anything
    return ModelFolder(place)


def free_place(name: str) -> Path:
    """Return where a new model of this name will be.

    Raises:
        ModelError: If the name is none of the store, or is taken.
    """
    if not is_stored_name(name):
        raise ModelError(f"{name!r} is no name for a model in the store; it has the form owner/name.")
    place = stored_path(name)
    if place.exists():
        raise ModelError(
            f"{name!r} is in the store already ({place}). Runs may name it: take another name, or "
            "delete that folder."
        )
    return place


def stored_models() -> Iterator[tuple[str, ModelFolder]]:
    """Yield the models of the store with their names, in order of the names.

    Raises:
        ModelError: If a folder in it is no model.
    """
    for config in sorted(models_folder().glob("*/*/config.json")):
        folder = config.parent
        if not folder.name.startswith("."):  # one that is being written
            yield f"{folder.parent.name}/{folder.name}", ModelFolder(folder)
