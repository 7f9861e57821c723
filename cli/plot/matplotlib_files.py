"""matplotlib, which is an extra, and the files of a figure.

Guarantee: a PDF, SVG or PNG has no date in it, so it changes with the numbers alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

SUFFIXES = (".pdf", ".svg", ".png")
DOTS_PER_INCH = 200
NO_DATE: dict[str, dict[str, Any]] = {
    ".pdf": {"CreationDate": None},
    ".svg": {"Date": None},
    ".png": {"Software": None},
}
STYLE: Any = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # text stays text
    "svg.fonttype": "none",
    "svg.hashsalt": "murmuration",
}


class FigureError(ValueError):
    """A figure cannot be drawn; the message says why, and the remedy."""


def pyplot() -> Any:
    """Return `matplotlib.pyplot` in our style; it draws to files and opens no window.

    Raises:
        FigureError: If matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise FigureError("a figure needs matplotlib: pip install 'murmuration[plots]'") from None
    matplotlib.use("Agg")
    matplotlib.rcParams.update(STYLE)
    from matplotlib import pyplot as loaded

    return loaded


def require_suffix(file: Path) -> None:
    """Refuse a file name of another format.

    Raises:
        FigureError: With the name and the formats.
    """
    if file.suffix.lower() not in SUFFIXES:
        raise FigureError(f"--plot {file}: give a name that ends with {', '.join(SUFFIXES)}")


def save(figure: Any, files: Sequence[Path]) -> None:
    """Write a figure to files, each in the format of its suffix, and forget it."""
    try:
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(file, dpi=DOTS_PER_INCH, metadata=NO_DATE[file.suffix.lower()])
    finally:
        pyplot().close(figure)
