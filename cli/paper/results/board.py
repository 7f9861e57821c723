"""The board: groups of results by true epsilon and word error rate, as a table and as a picture.

Guarantee: a word error rate is never compared with one of another corpus or split, and no epsilon but that of
a run's own population decides where it stands.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.paper.aligned import aligned
from cli.paper.results.plotting import pyplot, save
from cli.paper.results.record import RESULT, Privacy, Result
from cli.paper.results.statistics import Estimate, Table, rate
from privacy.display import delta_promises, epsilon_text

HEADING = ("epsilon", "WER %", "interval", "runs", "extrapolated", "speakers", "model", "what")
ABOUT = (
    "epsilon: of the runs' own population (the true one), of the worst run of a line. Lines with the same",
    "epsilon are sorted by WER. *: no other line has both a lower WER and no larger epsilon (Pareto front).",
    "extrapolated: none where delta is not below 1 / population, since epsilon then promises nothing.",
)


@dataclass(frozen=True, kw_only=True)
class Line:
    """The runs of one group: WER as a fraction with its interval, if it has one."""

    group: str
    results: tuple[Result, ...]
    wer: float
    interval: Estimate | None

    @classmethod
    def of(cls, group: str, results: Sequence[Result]) -> Line:
        """Summarise the runs of a group."""
        errors, words = sum(one.wer.errors for one in results), sum(one.wer.words for one in results)
        return cls(group=group, results=tuple(results), wer=errors / words, interval=_interval(results))

    @property
    def epsilon(self) -> float:
        """The largest true epsilon of the runs."""
        return max(one.privacy.epsilon for one in self.results)

    @property
    def corpus(self) -> str:
        """The speech that the error rate is of."""
        return f"{self.results[0].data.name}, split {self.results[0].data.split}"

    @property
    def place(self) -> tuple[float, float]:
        """What it is sorted by: epsilon as it is shown, then WER."""
        shown = math.inf if math.isinf(self.epsilon) else float(f"{self.epsilon:.2e}")
        return shown, self.wer


def board(results: Iterable[Result]) -> dict[str, list[Line]]:
    """Return the sorted lines of each corpus and split; runs that tuned a setting are left out."""
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for one in results:
        if one.purpose == RESULT:
            groups.setdefault((one.data.name, one.data.split, one.group), []).append(one)
    found: dict[str, list[Line]] = {}
    for (*_, group), runs in sorted(groups.items()):
        line = Line.of(group, runs)
        found.setdefault(line.corpus, []).append(line)
    return {corpus: sorted(lines, key=lambda line: line.place) for corpus, lines in found.items()}


def front(lines: Sequence[Line]) -> list[Line]:
    """Return the Pareto front of sorted lines: each has a lower WER than all with no larger epsilon."""
    best, found = math.inf, []
    for line in lines:
        if line.wer < best:
            best = line.wer
            found.append(line)
    return found


def board_text(lines_by_corpus: dict[str, list[Line]]) -> list[str]:
    """Return the board as lines of text."""
    text = [*ABOUT]
    for corpus, lines in lines_by_corpus.items():
        best = {line.group for line in front(lines)}
        cells = [_cells(line, line.group in best) for line in lines]
        text += ["", corpus, *aligned([HEADING, *cells], left=(len(HEADING) - 2, len(HEADING) - 1))]
    return text if lines_by_corpus else ["no results yet"]


def draw_board(lines_by_corpus: dict[str, list[Line]], path: Path) -> None:
    """Draw WER against true epsilon with the Pareto front, a panel for each corpus.

    Raises:
        ResultError: Without matplotlib.
    """
    loaded = pyplot()
    figure, panels = loaded.subplots(
        max(1, len(lines_by_corpus)),
        1,
        figsize=(7, 4 * max(1, len(lines_by_corpus))),
        squeeze=False,
        constrained_layout=True,
    )
    for panel, (corpus, lines) in zip(panels[:, 0], lines_by_corpus.items(), strict=False):
        _draw_panel(panel, corpus, lines)
    save(figure, path)


def _draw_panel(panel: Any, corpus: str, lines: Sequence[Line]) -> None:
    finite = [line.epsilon for line in lines if 0 < line.epsilon < math.inf]
    edge = 10 * max(finite, default=1.0)  # where those without privacy stand

    def drawn(some: Sequence[Line]) -> tuple[list[float], list[float]]:
        return [min(line.epsilon, edge) for line in some], [100 * line.wer for line in some]

    panel.plot(*drawn(lines), "o", color="#9aa4ad", label="all")
    best = front(lines)
    panel.plot(*drawn(best), "o-", drawstyle="steps-post", color="#3b6ea5", label="Pareto front")
    panel.set(xscale="log", xlabel="true epsilon (right edge: no privacy)", ylabel="WER %", title=corpus)
    panel.legend(frameon=False)


def _interval(results: Sequence[Result]) -> Estimate | None:
    """The interval over speakers and seeds; of one run without counts by speaker, the one that it states."""
    try:
        return rate(Table.of(results))
    except ValueError:
        stated = results[0].wer
    if len(results) > 1 or stated.low is None or stated.high is None:
        return None
    return Estimate(value=stated.rate, low=stated.low, high=stated.high)


def _cells(line: Line, best: bool) -> tuple[str, ...]:
    first = line.results[0]
    found, privacy = line.interval, first.privacy
    return (
        epsilon_text(line.epsilon),
        f"{100 * line.wer:.1f}{'*' if best else ' '}",
        f"{100 * found.low:.1f} to {100 * found.high:.1f}" if found else "-",
        f"{len(line.results)}",
        _extrapolated(privacy),
        f"{first.population:,}",
        first.model.name,
        line.group,
    )


def _extrapolated(privacy: Privacy) -> str:
    if privacy.extrapolated is None or privacy.extrapolated_population is None:
        return "-"
    promises = delta_promises(privacy.delta, privacy.extrapolated_population)
    shown = epsilon_text(privacy.extrapolated) if promises else "none"
    return f"{shown} at {privacy.extrapolated_population:,}"
