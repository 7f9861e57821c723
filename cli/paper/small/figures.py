"""The figure of an experiment: word error rates with intervals, and beside them how they came about.

That is how they came down over the rounds, or, of mechanisms by epsilon, how they differ from each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.paper.results.plotting import COLOURS, pyplot, save
from cli.paper.results.record import Result
from cli.paper.results.statistics import Estimate
from cli.paper.small.claims import Finding
from cli.paper.small.experiments import NOISY, Cell, word

MOST_CURVES = len(COLOURS)
EPSILON = "epsilon"  # the `x` of an experiment whose cells are drawn by their true epsilon
MARKERS = "osD^v"


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A cell with its error rate and its runs."""

    cell: Cell
    wer: Estimate
    results: tuple[Result, ...]


def draw(cells: Sequence[Drawn], x: str, path: Path, compared: Sequence[Finding] = ()) -> None:
    """Draw cells to a PNG: against their setting `x`, or below each other, with their curves beside.

    Cells by epsilon have the differences `compared` beside them: their own intervals are mostly due to the
    speakers, whom all cells share.

    Raises:
        ResultError: Without matplotlib.
    """
    loaded = pyplot()
    figure, (rates, beside) = loaded.subplots(
        1, 2, figsize=(11, max(3.6, 0.32 * len(cells))), constrained_layout=True
    )
    if x == EPSILON:
        _against_epsilon(rates, cells)
    elif x:
        _against(rates, cells, x)
    else:
        _below(rates, cells)
    if x == EPSILON and compared:
        _differences(beside, compared)
    else:
        _curves(beside, cells)
    save(figure, path)


def _bars(cells: Sequence[Drawn]) -> tuple[list[float], list[list[float]]]:
    """Rates in percent, and the lengths of their intervals below and above."""
    rates = [100 * one.wer.value for one in cells]
    below = [100 * max(0.0, one.wer.value - one.wer.low) for one in cells]
    above = [100 * max(0.0, one.wer.high - one.wer.value) for one in cells]
    return rates, [below, above]


def _below(panel: Any, cells: Sequence[Drawn]) -> None:
    rates, lengths = _bars(cells)
    places = list(range(len(cells)))[::-1]
    panel.errorbar(rates, places, xerr=lengths, fmt="o", color=COLOURS[0])
    panel.set_yticks(places, [one.cell.name for one in cells])
    panel.set(xlabel="WER % with 95 % interval")


def _against(panel: Any, cells: Sequence[Drawn], x: str) -> None:
    lines: dict[str, list[Drawn]] = {}
    for one in cells:
        rest = [word(value) for key, value in one.cell.varied.items() if key != x]
        lines.setdefault(" ".join(rest), []).append(one)
    for number, (label, line) in enumerate(lines.items()):
        rates, lengths = _bars(line)
        values = [float(one.cell.varied[x]) * (1 + 0.02 * number) for one in line]  # side by side
        panel.errorbar(
            values, rates, yerr=lengths, marker="o", label=label, color=COLOURS[number % MOST_CURVES]
        )
    panel.set(xlabel=x, ylabel="WER % with 95 % interval", xscale="log")
    panel.legend(framealpha=0.8, fontsize=8)


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points (epsilon, rate) to which no other is at most equal in both, sorted by epsilon.

    Example:
        >>> pareto([(10.0, 0.3), (1.0, 0.5), (10.0, 0.2), (20.0, 0.4)])
        [(1.0, 0.5), (10.0, 0.2)]
    """
    best: list[tuple[float, float]] = []
    for point in sorted(points):
        if not best or point[1] < best[-1][1]:
            best.append(point)
    return best


def _against_epsilon(panel: Any, cells: Sequence[Drawn]) -> None:
    """Rates by true epsilon, a line for the cells that differ in their noise alone, and the front."""
    lines: dict[str, list[Drawn]] = {}
    for one in cells:
        lines.setdefault(_without_noise(one.cell), []).append(one)
    for number, (label, line) in enumerate(lines.items()):
        rates, _ = _bars(line)
        look = {
            "color": COLOURS[number % MOST_CURVES],
            "marker": MARKERS[number // MOST_CURVES % len(MARKERS)],
        }
        panel.plot(list(map(_epsilon, line)), rates, label=label, alpha=0.8, **look)
    front = pareto([(_epsilon(one), 100 * one.wer.value) for one in cells])
    panel.plot(
        *zip(*front, strict=True), color="black", drawstyle="steps-post", label="Pareto front", zorder=0
    )
    panel.set(xlabel="true epsilon", ylabel="WER %", xscale="log")
    panel.legend(frameon=False, fontsize=7)


def _differences(panel: Any, compared: Sequence[Finding]) -> None:
    """Each difference in points with its interval, the first at the top."""
    places = list(range(len(compared)))[::-1]
    values = [one.estimate.value for one in compared]
    lengths = [
        [one.estimate.value - one.estimate.low for one in compared],
        [one.estimate.high - one.estimate.value for one in compared],
    ]
    panel.errorbar(values, places, xerr=lengths, fmt="o", color=COLOURS[0])
    panel.axvline(0.0, color="black", linewidth=0.8)
    panel.set_yticks(places, [f"{one.of} less {one.against}" for one in compared], fontsize=7)
    panel.set(xlabel="difference in points, 95 % interval; below 0: better")


def _without_noise(cell: Cell) -> str:
    """The cell's name without the value of its noise."""
    given = cell.name.split("/")[: -len(cell.varied) or None]
    return "/".join([*given, *(word(value) for key, value in cell.varied.items() if key not in NOISY)])


def _epsilon(one: Drawn) -> float:
    return max(run.privacy.epsilon for run in one.results)


def _curves(panel: Any, cells: Sequence[Drawn]) -> None:
    """The mean WER of the runs of a cell over the rounds; of many cells, only some."""
    several = [(one, line) for one in cells if len(line := mean_curve(one.results)) > 1]
    for number, (one, line) in enumerate(several[:: max(1, -(-len(several) // MOST_CURVES))]):
        panel.plot(
            list(line), [100 * rate for rate in line.values()], label=one.cell.name, color=COLOURS[number]
        )
    panel.set(xlabel="round", ylabel="WER %, mean of the seeds")
    if several:
        panel.legend(framealpha=0.8, fontsize=8)


def mean_curve(results: Sequence[Result]) -> Mapping[int, float]:
    """Return the mean WER (a fraction) by round, of the rounds that all runs evaluated."""
    curves = [
        {
            int(line["round"] or 0): rate
            for line in one.curve
            if isinstance(rate := line.get("wer"), float)  # None where nothing was evaluated
        }
        for one in results
    ]
    common = set.intersection(*map(set, curves)) if curves else set()
    return {number: sum(one[number] for one in curves) / len(curves) for number in sorted(common)}
