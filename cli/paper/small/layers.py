"""What runs that were looked into say of their layers: the figure of norms, and how smooth their paths are.

The norms are the paper's Figure 5: how far the updates of a round move each kind of layer. Signal to noise is
the norm of the mean update of a tensor over the norm that noise of `NOISE_SHOWN` C on the sum has there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from cli.composing import default_config
from cli.paper.results.plotting import COLOURS, pyplot, save
from cli.paper.results.record import Layers
from cli.paper.small.figures import Drawn
from cli.paper.small.inside import GROUPS, group_of, signal_to_noise

NOISE_SHOWN = 0.03
BOUND = "privacy.clip-bound"


def looked_into(cells: Sequence[Drawn]) -> list[Drawn]:
    """Return the cells all of whose runs have the norms of at least one round in their results."""
    return [one for one in cells if all(run.layers and run.layers.rounds for run in one.results)]


def norms_by_group(layers: Sequence[Layers]) -> Mapping[str, Mapping[int, float]]:
    """Return, by group and round, the mean norm of an update, over the group's tensors and the runs."""
    seen: dict[str, dict[int, list[float]]] = {}
    for one in layers:
        groups = [group_of(name) for name in one.tensors]
        for number, norms in zip(one.rounds, one.update_norms, strict=True):
            for group, norm in zip(groups, norms, strict=True):
                seen.setdefault(group, {}).setdefault(number, []).append(norm)
    return {
        group: {number: float(np.mean(norms)) for number, norms in sorted(rounds.items())}
        for group, rounds in seen.items()
    }


def draw_layers(cells: Sequence[Drawn], path: Path) -> None:
    """Draw, for each cell, its norms over the rounds by group, and signal to noise by tensor.

    Raises:
        ResultError: Without matplotlib.
    """
    figure, panels = pyplot().subplots(
        len(cells), 2, figsize=(11, 3.4 * len(cells)), squeeze=False, constrained_layout=True
    )
    for (norms, ratios), one in zip(panels, cells, strict=True):
        layers = [run.layers for run in one.results if run.layers is not None]
        for group, line in norms_by_group(layers).items():
            norms.plot(list(line), list(line.values()), label=group, color=_colour(group))
        norms.set(xlabel="round", ylabel="norm of a tensor's update", yscale="log", title=one.cell.name)
        norms.legend(frameon=False, fontsize=7)
        _ratios(ratios, one, layers)
    save(figure, path)


def _ratios(panel: Any, one: Drawn, layers: Sequence[Layers]) -> None:
    bound = float({**default_config(), **one.cell.settings}[BOUND])
    std = NOISE_SHOWN * bound / one.results[0].cohort
    values = np.mean([signal_to_noise(run, std) for run in layers], axis=0)
    names = layers[0].tensors
    panel.bar(range(len(names)), values, color=[_colour(group_of(name)) for name in names])
    panel.set(
        xlabel="tensor, from the input to the output",
        ylabel=f"signal to noise of {NOISE_SHOWN:g} C",
        yscale="log",
        title=f"C = {bound:g}",
    )


def _colour(group: str) -> str:
    return COLOURS[list(GROUPS).index(group) if group in GROUPS else len(GROUPS)]


def smoothness_table(cells: Sequence[Drawn]) -> str:
    """Return the table of how smooth the server's path was in each cell, from the smoothest."""
    lines = ["| runs | s, median | s, 90 % | WER % |", "|---|---|---|---|"]
    for cell, steps in sorted(((one, _steps(one)) for one in cells), key=lambda pair: np.median(pair[1])):
        median, high = np.quantile(steps, [0.5, 0.9])
        lines.append(f"| {cell.cell.name} | {median:.3g} | {high:.3g} | {100 * cell.wer.value:.1f} |")
    return "\n".join(lines)


def smoother_is_better(cells: Sequence[Drawn]) -> str:
    """Say of how many pairs of cells the one with the lower median s has the lower WER, too."""
    known = [(float(np.median(_steps(one))), one.wer.value) for one in cells]
    pairs = [(a, b) for a, b in combinations(known, 2) if a[0] != b[0] and a[1] != b[1]]
    agree = sum((a[0] < b[0]) == (a[1] < b[1]) for a, b in pairs)
    return f"In {agree} of {len(pairs)} pairs, the runs with the lower median s have the lower WER, too."


def _steps(one: Drawn) -> list[float]:
    return [step for run in one.results if run.layers is not None for step in run.layers.smoothness] or [
        float("nan")
    ]
