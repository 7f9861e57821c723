"""What the live view of a run shows: rounds and time, answers, error rates with their curves, epsilon, bytes.

It is for the server's own screen: it shows how many speakers were drawn and how many nodes answered, as the
table does, and both are secret (`server/report/metrics.py` says why). It is drawn on the terminal of the
ServerApp's process alone, and does not travel in Flower's log.

Guarantee: of the training it shows released statistics only, which are noised. Un-noised metrics it shows in
a simulation with `run.raw-metrics` alone, on lines that say so.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.text import Text

from base.counts import count_of
from privacy import PrivacyPlan, epsilon_text
from privacy.group_statistics import ReleasedGroup
from privacy.layer_groups import MOST_GROUPS
from server.report.curves import bar, sparkline
from server.report.layer_norms import LayerNorms
from server.report.live_table import Row, warning

TRAINING, EVALUATING = "training", "evaluating"
NARROW, LOW = 60, 16  # columns and rows, below which the view has fewer lines
TITLE_COLUMNS = 9
TABLE_ROWS = 8  # that stay for the table before layers are shown
RATES = ("loss", "wer", "cer")
RELEASED = {"update_norm": "norm", "clipped_share": "clipped", "signal_to_noise": "signal/noise"}
RECENT = 10  # rounds that the time left is estimated from
STATM = Path("/proc/self/statm")
PAGE_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class EpsilonGoal:
    """The epsilon at which the bar is full, and what it is."""

    value: float
    words: str

    @classmethod
    def of(cls, plan: PrivacyPlan) -> EpsilonGoal:
        """That of the budget; without one, of all rounds. RDP, as all epsilons of the table."""
        if plan.epsilon_budget is not None:
            return cls(value=plan.epsilon_budget, words="the budget")
        whole = plan.epsilon_of(plan.releases_in(plan.rounds), pld=False)
        return cls(value=whole.value, words=count_of(plan.rounds, "round"))


@dataclass(kw_only=True)
class RunView:
    """The state of a run that is shown; the run's thread writes it, and a thread that draws reads it.

    Attributes:
        name: Of the run folder.
        plan: The privacy plan.
        extrapolated: The plan with the larger population and cohort of the recipe.
        round_number: The newest round that was finished.
        stage: What the server does now.
        asked: Messages with tasks of the present round: one a node, or some for each host.
        answered: Messages that came back in it.
        bytes_down: Bytes sent to the nodes by this process.
        bytes_up: Bytes received.
        newest: The newest row of the table.
        rates: Loss, WER and CER of the rounds that were evaluated, by name.
        times: Seconds of the newest rounds.
        layers: Update norms without noise, of a simulation with `run.raw-metrics`.
    """

    name: str
    plan: PrivacyPlan
    extrapolated: PrivacyPlan
    round_number: int = 0
    stage: str = EVALUATING
    asked: int = 0
    answered: int = 0
    bytes_down: int = 0
    bytes_up: int = 0
    newest: Row | None = None
    rates: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in RATES})
    times: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    layers: LayerNorms | None = None
    _goal: EpsilonGoal | None = None
    _since: float = field(default_factory=time.monotonic)

    def add(self, row: Row) -> None:
        """Take a row of the table; the next round follows."""
        self.newest = row
        for name, values in self.rates.items():
            if math.isfinite(value := getattr(row, name)):
                values.append(value)
        self.round_number = row.report.round_number if row.report else row.round_number
        if row.report:
            self.times.append(row.seconds)
            self.bytes_down += row.report.bytes_down
            self.bytes_up += row.report.bytes_up
        self.stage, self._since = TRAINING, time.monotonic()

    def begin(self, stage: str) -> None:
        """Say what the server does now."""
        self.stage = stage

    def counted(self, grid: Any) -> CountedGrid:
        """`grid`, whose questions and answers are counted."""
        return CountedGrid(grid, self)

    @property
    def seconds_left(self) -> float:
        """Until the last round, by the newest rounds; NaN before the first."""
        if not self.times:
            return math.nan
        mean = sum(self.times) / len(self.times)
        under_way = time.monotonic() - self._since if self.stage == TRAINING else 0.0
        return max(0.0, mean * (self.plan.rounds - self.round_number) - min(mean, under_way))

    def lines(self, width: int, height: int) -> Group:
        """Return the view for a terminal of `width` columns and `height` rows."""
        few = height < LOW or width < NARROW
        parts = [
            _rule(f" {self.name} ", f" {self.stage} ", width),
            self._rounds(width),
            *self._answers(few),
            *self._rates(width, few),
            *self._epsilon(width, few),
            *([] if few else self._statistics()),
            self._memory(),
        ]
        if not few:
            parts += self._layers(height - 2 - len(parts) - TABLE_ROWS)
        for part in parts:
            part.no_wrap, part.overflow = True, "ellipsis"
            part.truncate(max(1, width - 1), overflow="ellipsis")
        return Group(*parts[: max(1, height - 2)])

    def _rounds(self, width: int) -> Text:
        done, rounds = self.round_number, self.plan.rounds
        full, rest = bar(done / rounds, _bar_columns(width))
        left = self.seconds_left
        words = "" if math.isnan(left) else f"  {duration(left)} left"
        return _titled("round", (full, "cyan"), (rest, "dim"), f" {done} of {rounds}{words}")

    def _answers(self, few: bool) -> list[Text]:
        report = self.newest.report if self.newest else None
        last = f"; last round {count_of(report.drawn, 'speaker')}" if report and not few else ""
        dropped = len(report.dropped) if report else 0
        left_out = (f", {count_of(dropped, 'node')} left out", "yellow") if dropped and not few else ""
        return [_titled("messages", f"{self.answered} of {self.asked} answered{last}", left_out)]

    def _rates(self, width: int, few: bool) -> list[Text]:
        """Loss, WER and CER with their curves; on a small terminal WER alone."""
        columns = max(0, min(40, width - 34))
        return [
            _rate(title, [factor * value for value in self.rates[name]], form, unit, columns)
            for title, name, factor, form, unit in (
                ("loss", "loss", 1, ".3f", "  "),
                ("WER", "wer", 100, ".1f", " %"),
                ("CER", "cer", 100, ".1f", " %"),
            )
            if not few or title == "WER"
        ]

    def _epsilon(self, width: int, few: bool) -> list[Text]:
        if not self.plan.is_private:
            return [_titled("privacy", (warning(self.plan)[0].removeprefix("privacy: "), "bold red"))]
        row, goal = self.newest, self._epsilon_goal()
        spent = row.epsilon_run if row else 0.0
        share = spent / goal.value if 0 < goal.value < math.inf else math.nan
        full, rest = bar(share, _bar_columns(width))
        own = f" {epsilon_text(spent)} of {epsilon_text(goal.value)} ({goal.words}) this run, RDP"
        lines = [_titled("epsilon", (full, "magenta"), (rest, "dim"), own)]
        if row and row.epsilon_model is not None:
            lines.append(_titled("", f"{epsilon_text(row.epsilon_model)} of the model, with its seed's runs"))
        if row and row.epsilon_population is not None:
            lines.append(
                _titled("", f"{epsilon_text(row.epsilon_population)} of these speakers, with other runs")
            )
        if row and not few:
            larger = self.extrapolated
            lines.append(
                _titled(
                    "extrap.",
                    (
                        f"{epsilon_text(row.epsilon_extrapolated)} not this run: population "
                        f"{larger.population:,}, cohort {larger.cohort:,.0f}",
                        "dim",
                    ),
                )
            )
        return lines

    def _epsilon_goal(self) -> EpsilonGoal:
        if self._goal is None:
            self._goal = EpsilonGoal.of(self.plan)
        return self._goal

    def _statistics(self) -> list[Text]:
        report = self.newest.report if self.newest else None
        if report is None:
            return []
        values = ", ".join(
            f"{name.replace('_', ' ')} {value:.2f}" for name, value in report.statistics.items()
        )
        noised = "noised and charged" if self.plan.is_private else "as released"
        return [_titled("training", f"{values} ", (f"({noised})", "dim"))]

    def _layers(self, rows: int) -> list[Text]:
        groups = self.layers.groups(min(MOST_GROUPS, rows - 1)) if self.layers else []
        if not groups:
            return self._released_layers(rows)
        title = _titled(
            "layers", ("without noise, no epsilon: ", "yellow"), "norm, tensors above C, signal/noise at most"
        )
        return [title, *(_titled("", one.line()) for one in groups)]

    def _released_layers(self, rows: int) -> list[Text]:
        """What the newest release says of groups of layers: the first groups for which there is room."""
        report = self.newest.report if self.newest else None
        groups = report.groups if report else ()
        shown = groups[: max(0, rows - 1)]
        if not shown:
            return []
        known = [words for name, words in RELEASED.items() if getattr(groups[0], name) is not None]
        some = f" (the first {len(shown)} of {len(groups)})" if len(shown) < len(groups) else ""
        noised = "noised and charged" if self.plan.is_private else "as released"
        title = _titled("layers", (f"{noised}: ", "dim"), f"{', '.join(known)}{some}")
        return [title, *(_titled("", _released_line(one)) for one in shown)]

    def _memory(self) -> Text:
        memory = memory_bytes()
        own = f"; server's memory {memory / 1e9:.2f} GB" if memory else ""
        return _titled(
            "traffic", f"{self.bytes_down / 1e6:,.1f} MB down, {self.bytes_up / 1e6:,.1f} MB up{own}"
        )


class CountedGrid:
    """A grid that tells a view how many messages were sent, and how many came back."""

    def __init__(self, grid: Any, view: RunView) -> None:
        self._grid, self._view = grid, view

    def send_and_receive(self, messages: Any, *, timeout: float | None = None) -> Iterator[Any]:
        """See `strategies.streaming.StreamingGrid`."""
        self._view.asked, self._view.answered = len(messages), 0
        return self._count(self._grid.send_and_receive(messages, timeout=timeout))

    def _count(self, replies: Iterable[Any]) -> Iterator[Any]:
        for reply in replies:
            self._view.answered += 1
            yield reply
            del reply  # or it would stay in memory beside the next
        self._view.begin(EVALUATING)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._grid, name)


def _released_line(group: ReleasedGroup) -> str:
    """The group in some 60 characters; noise may move a share out of [0, 1], and the nearest one is shown."""
    share, ratio = group.clipped_share, group.signal_to_noise
    cells = [
        f"{group.name[-22:]:<22}",
        "" if group.update_norm is None else f"{group.update_norm:>8.3g}",
        "" if share is None else f"{100 * min(1.0, max(0.0, share)):>4.0f} %",
        "" if ratio is None else f"{ratio:>8.2g}",
    ]
    return "  ".join(cell for cell in cells if cell)


def duration(seconds: float) -> str:
    """Return a duration in hours, minutes and seconds.

    Example:
        >>> duration(7.6), duration(192), duration(7384)
        ('0:08', '3:12', '2:03:04')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def memory_bytes() -> int:
    """Return the memory that this process has in use now; 0 where the system does not tell."""
    try:
        return int(STATM.read_text(encoding="ascii").split()[1]) * PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return 0


def _rule(left: str, right: str, width: int) -> Text:
    middle = max(0, width - 1 - 2 - len(left) - len(right) - 2)
    return Text.assemble(("──", "dim"), (left, "bold"), ("─" * middle, "dim"), (right, "cyan"), ("──", "dim"))


def _titled(title: str, *parts: str | tuple[str, str]) -> Text:
    return Text.assemble((title.ljust(TITLE_COLUMNS), "bold"), *parts)


def _rate(title: str, values: list[float], form: str, unit: str, columns: int) -> Text:
    if not values:
        return _titled(title, ("-", "dim"))
    curve, first = sparkline(values, columns), f"  from {values[0]:{form}}{unit}"
    return _titled(title, f"{values[-1]:8{form}}{unit} ", (curve, "green"), (first, "dim"))


def _bar_columns(width: int) -> int:
    return max(4, min(30, width - 50))
