"""Copies of a pre-trained model's folder that are not quite the same."""

import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file


def other_copy(folder: Path, place: Path) -> Path:
    """Copy a model to `place`, with another value of one weight."""
    shutil.copytree(folder, place)
    weights = load_file(place / "model.safetensors")
    next(iter(weights.values())).view(-1)[0] += 1.0
    save_file(weights, place / "model.safetensors", metadata={"format": "pt"})
    return place
