"""The figures: WER against epsilon, WER over rounds, and each tensor's update norms (the paper's Figure 5).

Guarantee: each epsilon on an axis is the true one of its run, with its own population (RDP). The extrapolated
one is not drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cli.plot.matplotlib_files import FigureError, pyplot
from cli.plot.update_norms import UpdateNorms, read_update_norms
from server.report.metrics_lines import MetricsLine, read_metrics

COLOURS = ("#3b6ea5", "#c4663a", "#4d8f5b", "#8a5aa8", "#a58b2f", "#5f6a72", "#b0486a", "#2f8f8f")
MARKS = "osD^vP*X"
WIDTH_INCHES, HEIGHT_INCHES = 3.4, 2.6  # a column of a paper
MOST_NAMES = 40  # tensors that are named beside the heat map


@dataclass(frozen=True, kw_only=True)
class PlottedRun:
    """A run folder as it is drawn: its name, its rounds, and its update norms if it has them."""

    name: str
    lines: tuple[MetricsLine, ...]
    norms: UpdateNorms | None

    @classmethod
    def of(cls, folder: Path) -> PlottedRun:
        """Read a run folder.

        Raises:
            MetricsError: If it has no metrics, or they are not of the schema.
        """
        lines = tuple(read_metrics(folder))
        return cls(name=folder.resolve().name, lines=lines, norms=read_update_norms(folder))

    @property
    def evaluated(self) -> list[MetricsLine]:
        """The rounds with a WER."""
        return [line for line in self.lines if math.isfinite(line.wer)]

    @property
    def is_private(self) -> bool:
        """Whether its rounds have a finite epsilon."""
        return bool(self.lines) and math.isfinite(self.lines[-1].epsilon_rdp_this_run)


def wer_over_rounds(runs: Sequence[PlottedRun]) -> Any:
    """Draw the WER of each run over its rounds."""
    figure, axes = _axes()
    for style, run in zip(_styles(runs), runs, strict=True):
        found = run.evaluated
        axes.plot([line.round for line in found], [100 * line.wer for line in found], **style)
    axes.set(xlabel="round", ylabel="WER %")
    axes.set_ylim(bottom=0)
    _legend(axes, runs)
    return figure


def wer_by_epsilon(runs: Sequence[PlottedRun]) -> Any:
    """Draw the WER of each run against the epsilon it had spent; a run without privacy is a line across."""
    figure, axes = _axes()
    for style, run in zip(_styles(runs), runs, strict=True):
        found = [line for line in run.evaluated if line.round > 0]
        if run.is_private:
            axes.plot(
                [line.epsilon_rdp_this_run for line in found], [100 * line.wer for line in found], **style
            )
        elif found:
            style = {**style, "marker": "", "linestyle": "--", "label": f"{run.name} (no privacy)"}
            axes.axhline(100 * found[-1].wer, **style)
    axes.set(xlabel="epsilon of the run (RDP, its own population)", ylabel="WER %")
    axes.set_ylim(bottom=0)
    _legend(axes, runs)
    return figure


def update_norms(runs: Sequence[PlottedRun]) -> Any:
    """Draw the norms of each tensor's update over rounds as a heat map a run (the paper's Figure 5)."""
    shown = [(run.name, run.norms) for run in runs if run.norms is not None]
    tallest = max(len(norms.tensors) for _, norms in shown)
    figure, panels = pyplot().subplots(
        1,
        len(shown),
        figsize=(2 + WIDTH_INCHES * len(shown), min(9.0, 1.2 + 0.14 * min(tallest, 2 * MOST_NAMES))),
        squeeze=False,
        layout="constrained",
    )
    low, high = _range([norms for _, norms in shown])
    for axes, (name, norms) in zip(panels[0], shown, strict=True):
        image = _heat_map(axes, norms, low, high)
        axes.set_title(f"{name}: without noise, not private", fontsize=8)
    figure.colorbar(image, ax=list(panels[0]), label="mean L2 norm before clipping")
    return figure


def _heat_map(axes: Any, norms: UpdateNorms, low: float, high: float) -> Any:
    from matplotlib.colors import LogNorm

    rounds, count = norms.rounds, len(norms.tensors)
    image = axes.pcolormesh(
        [*rounds, rounds[-1] + 1],
        range(count + 1),
        np.where(norms.norms > 0, norms.norms, math.nan),
        norm=LogNorm(low, high),
        cmap="viridis",
        rasterized=True,
    )
    step = math.ceil(count / MOST_NAMES)
    axes.set_yticks([place + 0.5 for place in range(0, count, step)], norms.tensors[::step], fontsize=5)
    axes.set(xlabel="round")
    axes.invert_yaxis()
    return image


def _range(some: Sequence[UpdateNorms]) -> tuple[float, float]:
    """One colour scale for all runs; equal norms still need two ends."""
    values = np.concatenate([norms.norms[norms.norms > 0] for norms in some])
    if not values.size:
        return 1e-3, 1.0
    low, high = float(values.min()), float(values.max())
    return (low, high) if low < high else (low / 2, high * 2)


FIGURES: dict[str, Callable[[Sequence[PlottedRun]], Any]] = {
    "wer-epsilon": wer_by_epsilon,
    "wer-rounds": wer_over_rounds,
    "update-norms": update_norms,
}


def figures_of(runs: Sequence[PlottedRun]) -> list[str]:
    """Return the names of the figures that these runs have.

    Raises:
        FigureError: If none of them was evaluated after its first round.
    """
    if not any(line.round > 0 for run in runs for line in run.evaluated):
        raise FigureError(
            f"{', '.join(run.name for run in runs)}: no round was evaluated yet; wait for the first one "
            "(training.evaluate-every says when)"
        )
    found = ["wer-rounds"]
    if any(run.is_private for run in runs):
        found.insert(0, "wer-epsilon")
    if any(run.norms is not None for run in runs):
        found.append("update-norms")
    return found


def _axes() -> tuple[Any, Any]:
    figure, axes = pyplot().subplots(figsize=(WIDTH_INCHES, HEIGHT_INCHES), layout="constrained")
    axes.grid(axis="y", linewidth=0.4, color="#d5dade")
    return figure, axes


def _styles(runs: Sequence[PlottedRun]) -> list[dict[str, Any]]:
    """Colour and mark of each run: a figure that is printed grey can be read too."""
    return [
        {
            "color": COLOURS[place % len(COLOURS)],
            "marker": MARKS[place % len(MARKS)],
            "markersize": 3,
            "linewidth": 1,
            "label": run.name,
        }
        for place, run in enumerate(runs)
    ]


def _legend(axes: Any, runs: Sequence[PlottedRun]) -> None:
    axes.legend(fontsize=6 if len(runs) > 3 else 7)
