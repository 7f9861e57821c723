"""Checkpoints of a federation: the released model and the server optimiser's state.

One safetensors file, written beside its final name and renamed, so that a crash leaves the old one
whole. It never holds a noise key, and nothing in it is older than its ledger entry.
"""

from __future__ import annotations

import os
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

FORMAT = "murmuration-federation-1"


def save_checkpoint(
    path: Path,
    *,
    vector: Tensor,
    optimiser: dict[str, Tensor],
    round_number: int,
    layout: str,
    preset: str,
    privacy: str,
) -> None:
    """Write vector (d,), optimiser state and what they belong to, atomically."""
    tensors = {"vector": vector, **{f"optimiser.{name}": value for name, value in optimiser.items()}}
    metadata = {
        "format": FORMAT,
        "round": str(round_number),
        "layout": layout,
        "preset": preset,
        "privacy": privacy,
    }
    unfinished = path.with_suffix(".partial")
    save_file(tensors, unfinished, metadata)
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    unfinished.replace(path)
