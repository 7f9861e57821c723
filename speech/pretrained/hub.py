"""Fetches a pre-trained model from the Hugging Face Hub into the store; nothing else here asks a network."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from speech.errors import ModelError
from speech.pretrained.folder import ModelFolder
from speech.pretrained.store import KEPT, add_model, free_place

IN_SUBFOLDERS = "*/*"


def fetch_model(name: str, revision: str | None = None) -> ModelFolder:
    """Fetch a model, and note its revision.

    Args:
        name: "owner/model" on the hub.
        revision: The commit; by default the newest of the main branch.

    Raises:
        ModelError: If it cannot be fetched, or is no model that can be used here.
        OSError: If it cannot be written.
    """
    place = free_place(name)
    place.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".fetched-", dir=place.parent) as temporary:
        snapshot = _fetched(_hub(), name, revision, temporary)
        return add_model(name, snapshot, snapshot.name)  # the hub's cache names it by its commit


def _fetched(download: Callable[..., str], name: str, revision: str | None, cache: str) -> Path:
    try:
        return Path(
            download(
                name,
                revision=revision,
                allow_patterns=list(KEPT),
                ignore_patterns=[IN_SUBFOLDERS],
                cache_dir=cache,
            )
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"{name} cannot be fetched ({type(error).__name__}: {error}). Is the name right, and is there a "
            f"network? A folder from elsewhere is taken by `murmur model add {name} FOLDER`."
        ) from None


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise ModelError(
            f"fetching models needs huggingface_hub ({error}): pip install 'murmuration[pretrained]'"
        ) from None
    return huggingface_hub.snapshot_download
