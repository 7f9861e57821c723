"""A node's own copy of a pre-trained model: `base-model="/path"`, else the one in the node's store.

Guarantee: a node with speech of its own opens no path that a server names. Of a copy that is not there, or is
another model's, the errors for the server have neither the path nor the digest.
"""

from __future__ import annotations

from pathlib import Path

from client.node_speech import NodeSpeech
from client.own_settings import OwnSettingError
from recipes import ConfigError, resolve
from recipes.model_section import ModelSection
from speech.pretrained.folder import ModelFolder
from speech.pretrained.store import find_folder, in_store, is_stored_name

_COPY = "copy the folder of the server's model"
COPY_HERE = f"{_COPY} to this node"
COPY_AND_NAME = f"{COPY_HERE} and name it, --node-config 'base-model=\"...\"'"


def folder_here(own: str, node_speech: NodeSpeech, of_the_run: str) -> Path | None:
    """The folder of the pre-trained model on this node; None where its name in the store says it.

    Args:
        own: The folder that the node names; "" if it names none.
        node_speech: The node's speech.
        of_the_run: The model's name in the recipe.

    Raises:
        ConfigError: If the node has no copy, or the run names a path and the node's speech is its own.
    """
    if own:
        path = resolve(own)
        if not path.is_dir():
            raise OwnSettingError("base-model", own, f"there is no such folder: {_COPY} there")
        return path
    if is_stored_name(of_the_run):
        if not in_store(of_the_run):
            raise ConfigError(
                f"model.name = {of_the_run!r}: this node has no copy of it; {COPY_AND_NAME}, or have "
                f"`murmur model add {of_the_run} FOLDER` copy it"
            )
    elif not node_speech.simulated:
        raise ConfigError(
            f"model.name = {of_the_run!r}: a node opens no path that a server names; {COPY_AND_NAME}"
        )
    return None


def require_digest(section: ModelSection, folder: Path | None) -> None:
    """Raise `ConfigError` if this node's copy is another one than the recipe's.

    The server is told that it is, and not which one.
    """
    found = ModelFolder(folder) if folder else find_folder(section.name)
    if found.digest == section.digest:
        return
    if folder:
        fault = f"it is not the model of the run, whose model.digest is {section.digest}: {COPY_HERE}"
        raise OwnSettingError("base-model", str(folder), fault)
    raise ConfigError(
        f"model.name = {section.name!r}: this node's copy has another digest than model.digest = "
        f"{section.digest}; {COPY_AND_NAME}"
    )
