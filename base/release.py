"""The release of this software."""

from __future__ import annotations

import tomllib
from importlib.metadata import version
from pathlib import Path


def release() -> str:
    """The version of this code: of the pyproject.toml beside it (as in Flower's bundle), or as installed."""
    beside = Path(__file__).resolve().parent.parent / "pyproject.toml"
    if beside.is_file():
        return str(tomllib.loads(beside.read_text(encoding="utf-8"))["project"]["version"])
    return version("murmuration")
