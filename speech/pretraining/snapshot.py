"""Snapshots of a training: everything that an interrupted training needs to continue with the same result.

A snapshot is one safetensors file: the tensors of the model, the optimiser and the generators, and as JSON
the counters and the identity of the training.

Guarantees: the file is written atomically. A snapshot of another training is refused, with every difference
    named.
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
AS_BEFORE = {"clip": "batch", "micro-batch": 1, "clip-cores": 4}  # for snapshots of releases without them


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The state of a training: its `identity` (settings and corpus), its counters (`facts`) and its tensors.

    Example:
        >>> snapshot = Snapshot(identity={}, facts={"step": 7}, tensors={"model.norm.bias": Tensor([1.0])})
        >>> snapshot.part("model")
        {'norm.bias': tensor([1.])}
    """

    identity: Mapping[str, Any]
    facts: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors under the prefix `name`, without the prefix."""
        prefix = f"{name}."
        return {key.removeprefix(prefix): t for key, t in self.tensors.items() if key.startswith(prefix)}


@dataclass(frozen=True, kw_only=True)
class Snapshots:
    """Where a training writes its snapshot, after how many steps, and whether it resumes from there.

    Raises:
        ValueError: For `every` below 1, a snapshot that exists although nothing is resumed, or none to
            resume.

    Example:
        >>> Snapshots(path=Path("new.safetensors.snapshot"), every=500).resume
        False
    """

    path: Path
    every: int
    resume: bool = False

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"a snapshot every {self.every} steps: at least 1 is needed.")
        if self.path.exists() and not self.resume:
            raise ValueError(
                f"{self.path} has a training that is not finished: continue it with --resume, or delete it."
            )
        if self.resume and not self.path.is_file():
            raise ValueError(f"{self.path}: no such file, so nothing to resume; start without --resume.")

    def discard(self) -> None:
        """Delete the snapshot, once the model is safe."""
        self.path.unlink(missing_ok=True)


def save_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write `snapshot`; the path has the whole of it, or what was there before."""
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

    Raises:
        CheckpointMismatch: For a file that cannot be read or has another format, and for a snapshot of
            another
            training, naming every difference.
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
            "release that wrote it, or delete it and start again."
        )
    now = json.loads(json.dumps(dict(identity)))
    before = {key: value for key, value in AS_BEFORE.items() if key in now}
    _compare(path, before | json.loads(metadata["identity"]), now)
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
            "corpus, or delete it and start again."
        )
