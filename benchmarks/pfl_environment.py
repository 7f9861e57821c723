"""A virtual environment for pfl 0.6, which needs older packages than ours. Without network there is none."""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path

import torch

PACKAGES = ("pfl==0.6.0", "dp-accounting<0.6", "packaging<26", "wheel<0.46")


class NoPfl(RuntimeError):
    """pfl could not be installed; the message says why."""


def pfl_python(folder: Path) -> Path:
    """Make the environment in `folder` and return its interpreter; torch and the like are this one's.

    Raises:
        NoPfl: If pip could not install it.
    """
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", *PACKAGES]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoPfl(f"pfl could not be installed: {last_line(done.stderr)}")
    packages = next(folder.glob("lib/*/site-packages"))
    # A path file comes after pfl's own packages, which therefore win.
    (packages / "torch.pth").write_text(f"{Path(torch.__file__).parents[1]}\n", encoding="utf-8")
    return python


def last_line(words: str) -> str:
    """What a failed program said last."""
    return (words.strip().splitlines() or ["no reason given"])[-1]
