"""What a training snapshot is: all that an interrupted training needs to go on as if nothing had been.

One safetensors file: the tensors of the model, the optimiser and the generators and, as JSON, where the
training stood and what it was a training of. Written atomically; read with every difference named.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from base.durable_file import replacing
from speech.errors import CheckpointMismatch

FORMAT = "murmuration-training-1"


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A training as it stood: `identity` is what it is a training of, `facts` are its counters."""

    identity: Mapping[str, Any]
    facts: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors filed under `name`, without it."""
        prefix = f"{name}."
        return {key.removeprefix(prefix): t for key, t in self.tensors.items() if key.startswith(prefix)}


def save_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write `snapshot`; the path holds it whole, or what was there before."""
    tensors = {name: value.detach().to("cpu", copy=True) for name, value in snapshot.tensors.items()}
    metadata = {
        "format": FORMAT,
        "identity": json.dumps(dict(snapshot.identity)),
        "facts": json.dumps(dict(snapshot.facts)),
    }
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata)


def load_snapshot(path: Path, identity: Mapping[str, Any]) -> Snapshot:
    """Read a snapshot of the training `identity`.

    Raises `CheckpointMismatch` for a file that cannot be read or is of another format, and for one of
    another training, naming every difference.
    """
    if not path.is_file():
        raise CheckpointMismatch(
            f"{path}: no such file, so there is nothing to resume; start without --resume."
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointMismatch(
            f"{path}: not a readable safetensors file ({error}); delete it and start without --resume."
        ) from None
    if metadata.get("format") != FORMAT:
        raise CheckpointMismatch(
            f"{path}: format {metadata.get('format')!r}, this release reads {FORMAT!r}; resume with the "
            "release that wrote it, or delete it and start afresh."
        )
    _compare(path, json.loads(metadata["identity"]), json.loads(json.dumps(dict(identity))))
    return Snapshot(identity=identity, facts=json.loads(metadata["facts"]), tensors=tensors)


def _compare(path: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    differences = [
        f"{key} was {then.get(key, 'not known')!r} and is now {now.get(key, 'not known')!r}"
        for key in dict.fromkeys([*then, *now])
        if then.get(key) != now.get(key)
    ]
    if differences:
        raise CheckpointMismatch(
            f"{path} is of another training: {'; '.join(differences)}. Resume with the same settings and "
            "corpus, or delete it and start afresh."
        )
