"""The figure of an experiment: word error rates with intervals, and how they came down over the rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.paper.results.plotting import COLOURS, pyplot, save
from cli.paper.results.record import Result
from cli.paper.results.statistics import Estimate
from cli.paper.small.experiments import Cell, word

MOST_CURVES = len(COLOURS)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A cell with its error rate and its runs."""

    cell: Cell
    wer: Estimate
    results: tuple[Result, ...]


def draw(cells: Sequence[Drawn], x: str, path: Path) -> None:
    """Draw cells to a PNG: against their setting `x`, or below each other, with their curves beside.

    Raises:
        ResultError: Without matplotlib.
    """
    loaded = pyplot()
    figure, (rates, curves) = loaded.subplots(
        1, 2, figsize=(11, max(3.6, 0.32 * len(cells))), constrained_layout=True
    )
    if x:
        _against(rates, cells, x)
    else:
        _below(rates, cells)
    _curves(curves, cells)
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
    panel.legend(frameon=False, fontsize=8)


def _curves(panel: Any, cells: Sequence[Drawn]) -> None:
    """The mean WER of the runs of a cell over the rounds; of many cells, only some."""
    several = [(one, line) for one in cells if len(line := mean_curve(one.results)) > 1]
    for number, (one, line) in enumerate(several[:: max(1, -(-len(several) // MOST_CURVES))]):
        panel.plot(
            list(line), [100 * rate for rate in line.values()], label=one.cell.name, color=COLOURS[number]
        )
    panel.set(xlabel="round", ylabel="WER %, mean of the seeds")
    if several:
        panel.legend(frameon=False, fontsize=8)


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
