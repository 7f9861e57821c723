"""matplotlib, which is an extra: loaded where a figure is drawn, or one clear error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cli.paper.results.record import ResultError

DOTS_PER_INCH = 110
COLOURS = ("#3b6ea5", "#c4663a", "#4d8f5b", "#8a5aa8", "#a58b2f", "#5f6a72", "#b0486a", "#2f8f8f")


def pyplot() -> Any:
    """Return `matplotlib.pyplot`, which draws to files and opens no window.

    Raises:
        ResultError: If matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise ResultError("a figure needs matplotlib: pip install 'murmuration[plots]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot as loaded

    return loaded


def save(figure: Any, path: Path) -> None:
    """Write a figure and forget it; without a date in it, the file changes only with the numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DOTS_PER_INCH, metadata={"Software": None})
    pyplot().close(figure)
