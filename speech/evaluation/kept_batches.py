"""The results of an evaluation's batches in a file, so that one that was interrupted goes on.

Guarantee: a result is used again only for the same key and the same utterances in one batch, so that an
evaluation that goes on gives what an uninterrupted one gives.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import torch

from base.tensor_digest import add_tensors
from speech.model.recogniser import BatchEvaluation, Recogniser


class KeptBatches:
    """Results by the ids of a batch's utterances, in a file with a line each.

    Args:
        path: The file. It is read if it has this key and is whole, and else written anew.
        key: What the results depend on (`key_of`).

    Raises:
        OSError: If the file cannot be read or written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "kept.jsonl"
        ...     found = BatchEvaluation(losses=torch.tensor([1.5]), counted=1, texts=["turn"])
        ...     KeptBatches(path, "of a model").add(["u1"], found)
        ...     again = KeptBatches(path, "of a model").find(["u1"])
        ...     again.texts, KeptBatches(path, "of another").find(["u1"])
        (['turn'], None)
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        self._found: dict[tuple[str, ...], BatchEvaluation] = {}
        first, *lines = _whole_lines(path) or [""]
        found = _read_all(lines) if first == json.dumps({"key": key}) else None
        if found is not None:
            self._found = found
            os.truncate(path, sum(len(line.encode()) + 1 for line in (first, *lines)))  # a torn last line
        else:
            path.write_text(json.dumps({"key": key}) + "\n", encoding="utf-8")

    def find(self, ids: Sequence[str]) -> BatchEvaluation | None:
        """Return the result of exactly these utterances, or None."""
        return self._found.get(tuple(ids))

    def add(self, ids: Sequence[str], result: BatchEvaluation) -> None:
        """Keep the result of these utterances."""
        line = {
            "ids": list(ids),
            "losses": result.losses.tolist(),
            "counted": result.counted,
            "texts": list(result.texts),
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def key_of(model: Recogniser, *settings: str) -> str:
    """Return a digest of all tensors of a model, and of what else its transcripts depend on."""
    digest = hashlib.sha256(json.dumps(settings).encode())
    add_tensors(digest, chain(model.named_parameters(), model.named_buffers()))
    return digest.hexdigest()


def _whole_lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    return path.read_bytes().decode("utf-8", errors="replace").split("\n")[:-1]


def _read_all(lines: Sequence[str]) -> dict[tuple[str, ...], BatchEvaluation] | None:
    """The results; None if a line is none: nothing in such a file is used."""
    try:
        return dict(map(_read, lines))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _read(line: str) -> tuple[tuple[str, ...], BatchEvaluation]:
    kept = json.loads(line)
    result = BatchEvaluation(
        losses=torch.tensor(kept["losses"]), counted=kept["counted"], texts=kept["texts"]
    )
    return tuple(kept["ids"]), result
