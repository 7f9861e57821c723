"""Where a command's result goes: found out before the work, and never in the place of what it was made of."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import typer


def require_folder(out: Path) -> None:
    """Refuse an --out in a folder that is not there."""
    if not out.parent.is_dir():
        raise typer.BadParameter(f"--out {out}: there is no folder {out.parent}; make it first")


def is_among(out: Path, inputs: Iterable[Path]) -> bool:
    """Whether `out` is one of the input files, under whatever name."""
    return out.exists() and any(one.exists() and out.samefile(one) for one in inputs)
