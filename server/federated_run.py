"""The rounds of a run: each is trained, released, evaluated, written and printed.

Guarantee: at every moment, what the run has released is on the disk.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from privacy import BudgetExhausted
from recipes import RunConfig
from server.anchor import Anchor
from server.averaging import ModelAverage
from server.evaluation import HeldOut, ModelEvaluations
from server.node_changes import (
    NodeChanges,
    RepliesRefused,
    TooFewAnswers,
    require_answers,
    require_none_refused,
)
from server.report.model_card import model_card
from server.report.screen import RunScreen
from server.report.summary import Course, summarise
from server.spending import Spending
from server.storage.lost_entries import note_head
from server.storage.resumption import Interrupted
from server.storage.run_files import RunFiles
from server.storage.run_folder import RunFolder
from speech.evaluation.evaluation import Evaluation
from speech.model.recogniser import Recogniser
from strategies import DPFedOpt, StreamingGrid, run_rounds
from strategies.state import load_state


@dataclass(kw_only=True)
class FederatedRun:
    """A prepared run.

    Attributes:
        config: The run configuration.
        model: The model, bound to the strategy's vector.
        strategy: The strategy.
        anchor: Trains its model on public speech after each round, if the recipe says so.
        average: The average of its models; without one, the newest model.
        held_out: The held-out speech.
        folder: The run folder.
        files: Writes models and checkpoints to it.
        spending: The privacy plan and the releases.
        screen: Prints the table.
        interrupted: The run that is resumed, if any.
        skipped: Number of utterances of the nodes that could not be used.
        node_changes: Remarks, and nodes that come and go.
        evaluations: Evaluations of the seed model and the newest model.
        rounds_done: Number of rounds that were made.
        stopped_because: Why the run ended before its last round.
        started: When it was started or resumed (monotonic clock).
        round_started: When the round began.
    """

    config: RunConfig
    model: Recogniser
    strategy: DPFedOpt
    anchor: Anchor | None
    average: ModelAverage
    held_out: HeldOut
    folder: RunFolder
    files: RunFiles
    spending: Spending
    screen: RunScreen
    interrupted: Interrupted | None
    skipped: int
    node_changes: NodeChanges
    evaluations: ModelEvaluations = field(init=False)
    rounds_done: int = 0
    stopped_because: str = ""
    started: float = 0.0
    round_started: float = 0.0

    def run(self, grid: StreamingGrid) -> Path:
        """Make all rounds that are left, then write the summary; return the run folder.

        Raises:
            TooFewAnswers: After the summary, if too few nodes answered a round; the run can be resumed.
            RepliesRefused: After the summary, if the reply of a simulated node was refused.
        """
        self.started = self.round_started = time.monotonic()
        self.screen.print_heading(self.node_changes.remarks)
        try:
            with self.screen.live():
                self._begin()
                self._make_rounds(grid)
        except BudgetExhausted as exhausted:
            self.stopped_because = str(exhausted)
        except (TooFewAnswers, RepliesRefused) as stop:
            self.stopped_because = str(stop)
            self._finish()
            raise
        self._finish()
        return self.folder.path

    def _make_rounds(self, grid: StreamingGrid) -> None:
        run_rounds(
            self.strategy,
            self.screen.counted(grid),
            first=self.rounds_done + 1,
            last=self.config.training.rounds,
            deadline_seconds=self.config.training.round_deadline_seconds,
            after_round=lambda number: self._after_round(number, grid),
        )

    def _begin(self) -> None:
        """Evaluate and write the seed model, or load the interrupted run's checkpoint."""
        self.evaluations = ModelEvaluations.of_seed(
            self.held_out, self.model, kept=self.folder.unfinished_evaluation("seed")
        )
        if self.interrupted is None:
            self.files.save_seed()
        else:
            self.rounds_done = self.interrupted.checkpoint.round_number
            load_state(self.strategy, self.interrupted.checkpoint.tensors)
            self.average.load_state_dict(self.interrupted.checkpoint.tensors)
        seed_is_shown = self.interrupted is None and self.held_out.share == 1
        self._print_row(self.evaluations.newest if seed_is_shown else self._look())
        self.round_started = time.monotonic()

    def _after_round(self, round_number: int, grid: StreamingGrid) -> None:
        self.rounds_done = round_number
        note_head(self.spending.account.ledger)  # before anything of this round can be seen
        if self.anchor is not None:
            self.anchor.move_(self.strategy.vector, round_number)
        self.average.add(round_number)
        run, training = self.config.run, self.config.training
        last = round_number == training.rounds
        if last or round_number % self.files.rounds_between(run.checkpoint_every, training.rounds) == 0:
            self.files.save_round(round_number)
        evaluated = last or round_number % training.evaluate_every == 0
        self._print_row(self._look() if evaluated else None)
        present = self.strategy.run.addressing.present(grid.get_node_ids())
        changes = self.node_changes.update(present, self.strategy.changed)
        self.screen.print_remarks(changes)
        if (report := self.strategy.last_report) is not None:
            self.folder.append_traffic(report, time.monotonic() - self.round_started)
            if grid.simulated:
                require_none_refused(report)
            if not last:
                require_answers(report, training.min_answers)
        self.round_started = time.monotonic()

    def _print_row(self, evaluation: Evaluation | None) -> None:
        self.screen.print_row(self.rounds_done, evaluation, time.monotonic() - self.round_started)

    def _look(self) -> Evaluation:
        """Evaluate the newest model, or the average, for the table."""
        with self.average.in_place():
            return self.evaluations.look(self.model)

    def _finish(self) -> None:
        self.files.save_round(self.rounds_done)
        if self.stopped_because or self.held_out.share < 1:  # the newest evaluation may be some rounds old
            with self.average.in_place():
                self.evaluations.evaluate(self.model, kept=self.folder.unfinished_evaluation("final"))
        course = Course(
            config=self.config,
            folder=self.folder,
            model=f"{self.screen.model_in_words}\n{self.screen.kept_in_words}".strip(),
            rounds=self.rounds_done,
            seconds=time.monotonic() - self.started,
            stopped_because=self.stopped_because,
            resumed_after=self.screen.resumed_after,
            failures=self.strategy.failures,
            remarks=self.node_changes.remarks,
            skipped=self.skipped,
        )
        text = summarise(course, self.spending, self.evaluations)
        evaluation = self.held_out.summary(self.evaluations.newest)
        stamps = {"privacy": self.strategy.plan.stamp, "run": self.spending.account.run}
        self.folder.write_evaluation({**stamps, **evaluation})
        self.folder.card.write_text(model_card(self.folder, self.config), encoding="utf-8")
        self.folder.summary.write_text(text, encoding="utf-8")
        self.folder.drop_unfinished_evaluations()
        print("\n" + text, flush=True)
