"""What a run prints during its rounds, and metrics.jsonl, which has the same rows.

Guarantee: every remark is one printable line, whatever a node sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from base.printable_text import one_line
from recipes import RunConfig
from server.anchor import anchor_in_words
from server.averaging import average_in_words
from server.evaluation import HeldOut
from server.report import live_table
from server.report.layer_norms import LayerNorms
from server.report.live_table import Row
from server.report.live_terminal import LiveTerminal
from server.report.metrics import as_metrics
from server.report.metrics_lines import VERSION
from server.report.run_view import RunView
from server.report.summary import speakers_in_training
from server.spending import Spending
from server.storage.run_folder import RunFolder
from speech.evaluation.evaluation import Evaluation
from speech.model.recogniser import Recogniser
from strategies import DPFedOpt

LONGEST_REMARK = 2000


@dataclass(frozen=True, kw_only=True)
class RunScreen:
    """Prints the heading and the rows of a run, and draws its live view on a terminal.

    Attributes:
        config: The run configuration.
        folder: The run folder.
        model: The model.
        strategy: The strategy.
        spending: The privacy plan and the releases.
        held_out: The held-out speech.
        resumed_after: The round after which the run was resumed; None if it was not.
        layers: Update norms without noise, of a simulation with `run.raw-metrics`.
    """

    config: RunConfig
    folder: RunFolder
    model: Recogniser
    strategy: DPFedOpt
    spending: Spending
    held_out: HeldOut
    resumed_after: int | None
    layers: LayerNorms | None = None

    @property
    def model_in_words(self) -> str:
        """Preset and size of the model."""
        share = live_table.share_trained(self.model, self.strategy.layout.size)
        return f"{self.config.model.name} model, {share}"

    @property
    def kept_in_words(self) -> str:
        """The lines that name the anchor and the average which is evaluated and kept, if there are any."""
        anchor = anchor_in_words(self.config.server)
        average = average_in_words(self.config.server, self.config.training.rounds)
        lines = {"anchor": anchor, "evaluated and kept": average}
        return "".join(f"{name}: {words}\n" for name, words in lines.items() if words)

    @cached_property
    def view(self) -> RunView:
        """What the live view shows."""
        spending = self.spending
        return RunView(
            name=self.folder.path.name,
            plan=spending.plan,
            extrapolated=spending.extrapolated,
            layers=self.layers,
        )

    @cached_property
    def _terminal(self) -> LiveTerminal:
        return LiveTerminal(self.view.lines)

    def live(self) -> AbstractContextManager[object]:
        """Show the live view for the time of the block, if a person looks; the lines are printed above it."""
        return self._terminal

    def counted(self, grid: Any) -> Any:
        """The grid of the rounds; if the live view is shown, one whose answers it counts."""
        return self.view.counted(grid) if self._terminal.wanted else grid

    def print_heading(self, remarks: Iterable[str]) -> None:
        """Print the warnings and what is above the rows of the table."""
        strategy, held_out = self.strategy, self.held_out
        rule, groups = self.config.privacy.clip_rule, len(self.config.privacy.groups)
        parts = f" in {groups} clip groups" if groups > 1 else ""
        opening = live_table.opening(
            nodes=len(strategy.population_index.nodes),
            speakers=strategy.plan.population,
            model=f"{self.model_in_words} in {len(strategy.layout)} tensors, {rule!r} clip bounds{parts}",
            folder=self.folder.path,
            resumed_after=self.resumed_after,
        )
        for remark in remarks:
            print(f"WARNING: {one_line(remark, most=LONGEST_REMARK)}", flush=True)
        if held_out.speakers_in_training:
            print(f"WARNING: {speakers_in_training(held_out.speakers_in_training)}", flush=True)
        noise = live_table.noise_in_words(strategy.plan, self.config.privacy.clip_bound, strategy.layout.size)
        heading = live_table.heading(self.spending, len(held_out.speakers), held_out.share)
        print(opening + noise + self.kept_in_words + heading, flush=True)

    def print_row(self, round_number: int, evaluation: Evaluation | None, seconds: float) -> None:
        """Print the row of a round that took `seconds`, and add it to metrics.jsonl."""
        report = self.strategy.last_report
        row = Row.of(report, round_number, evaluation, self.spending, seconds)
        print(live_table.line(row), flush=True)
        self.view.add(row)
        resumed = {"resumed": True} if self.resumed_after is not None and report is None else {}
        stamp = self.strategy.plan.stamp
        self.folder.append_metrics({"version": VERSION, **as_metrics(row), **resumed, "privacy": stamp})

    def print_remarks(self, remarks: Iterable[str]) -> None:
        """Print remarks below the row of their round."""
        for remark in remarks:
            print(f"       {one_line(remark)}", flush=True)
