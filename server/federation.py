"""A whole federation, from registration to summary: the function behind the ServerApp.

All checks are made before the first round. Then each round is trained, released, evaluated, written and
printed. At every moment, what the run has released is on the disk.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

import numpy as np
from flwr.serverapp import Grid

from optim.trainable import freeze, frozen_digest
from privacy import BudgetExhausted, PrivacyPlan, Release, SecureGaussian, rdp_epsilon
from privacy.kernels import load_compiler
from recipes import RunConfig
from server.evaluation import HeldOut, ModelEvaluations
from server.factory import (
    make_adaptive,
    make_bounds,
    make_extrapolated,
    make_plan,
    make_server_step,
    starting_model,
)
from server.node_changes import (
    NodeChanges,
    RepliesRefused,
    TooFewAnswers,
    require_answers,
    require_none_refused,
)
from server.planning import with_time_for_all
from server.registration import Registration, declare, register_nodes
from server.report.model_card import model_card
from server.report.screen import RunScreen
from server.report.summary import Course, summarise
from server.spending import Spending
from server.storage.ancestry import unprotected
from server.storage.checkpoints import Identity
from server.storage.lost_entries import note_head
from server.storage.populations import PopulationIdentity
from server.storage.resumption import Interrupted, open_run
from server.storage.run_files import RunFiles
from server.storage.run_folder import RunFolder
from speech.evaluation.evaluation import Evaluation
from speech.model.ctc_transformer import CTCTransformer
from speech.text import alphabet_of
from strategies import (
    DPFedOpt,
    GlobalModel,
    Mechanism,
    Scaffold,
    ServerStep,
    StreamingGrid,
    TrainingRun,
    bind,
    run_rounds,
    strategy_class,
)
from strategies.flower_seam import is_simulation
from strategies.state import load_state
from wire.declared_plan import DeclaredPlan

MESSAGES_UNDER_WAY = 64  # in a simulation, whose messages are in the memory of this process


def run_federation(grid: Grid, config: RunConfig, *, run_id: str) -> Path:
    """Run the federation that `config` describes; return the run folder.

    Args:
        grid: Flower's grid.
        config: The run configuration.
        run_id: Flower's number of the run.

    Raises:
        ConfigError, SpeechError, RegistrationError, ResumeRefused, PrivacyError: If the run cannot start or
            continue; nothing has been drawn or spent then.
        TooFewAnswers, RepliesRefused: As `FederatedRun.run`.
    """
    interrupted = Interrupted.find(config)
    alphabet = alphabet_of(config.corpus.language, config.corpus.characters)
    model = interrupted.seed_model() if interrupted else starting_model(config.model, alphabet)
    freeze(model, config.model.trainable)
    held_out = HeldOut.of(config.corpus, config.model.preset)
    simulated = is_simulation(grid)
    streaming = StreamingGrid(grid, window=MESSAGES_UNDER_WAY if simulated else 0, simulated=simulated)
    Thread(target=_prepare_first_round, daemon=True).start()
    registration = register_nodes(
        streaming,
        config.training,
        frozen_digest(model),
        held_out.held_out_speakers(config.corpus),
        planned=config.privacy.population,
    )
    index = registration.population_index
    plan = make_plan(config, index.population)
    config = with_time_for_all(config, plan, index.counts, simulated=simulated)
    declared = None
    if not simulated:
        declared = DeclaredPlan.of(plan)
        declare(streaming, declared, index.nodes, config.training.wait_seconds)
    run = FederatedRun.prepare(config, model, held_out, registration, plan, run_id, interrupted, declared)
    with run.strategy.ledger:
        return run.run(streaming)


def _prepare_first_round() -> None:
    """Load and compile what the first round needs, while the server waits for nodes: it takes seconds."""
    load_compiler()
    SecureGaussian().add_rounded_(np.zeros(1, dtype=np.int64), 1.0)
    rdp_epsilon([Release(sampling_rate=0.5, noise_multiplier=1.0)], 0.5)


@dataclass(kw_only=True)
class FederatedRun:
    """A prepared run.

    Attributes:
        config: The run configuration.
        model: The model, bound to the strategy's vector.
        strategy: The strategy.
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
    model: CTCTransformer
    strategy: DPFedOpt
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

    @classmethod
    def prepare(
        cls,
        config: RunConfig,
        model: CTCTransformer,
        held_out: HeldOut,
        roll: Registration,
        plan: PrivacyPlan,
        run_id: str,
        interrupted: Interrupted | None = None,
        declared: DeclaredPlan | None = None,
    ) -> FederatedRun:
        """Make the run folder, or reopen that of the interrupted run, and everything that a round needs."""
        layout, vector = bind(model)
        bounds, quantiser = make_bounds(config.privacy, layout)
        optimiser, schedule = make_server_step(config.server, layout)
        identity = Identity.of(config, plan, layout.digest, roll.dataset, roll.frozen)
        extrapolated = make_extrapolated(config, plan)
        population = PopulationIdentity(
            digests=frozenset(roll.population_index.datasets), tokens=roll.tokens, synthetic=roll.synthetic
        )
        opened = open_run(config, identity, population, interrupted, run_id)
        scaffold = config.local.algorithm == "scaffold"
        strategy = (Scaffold if scaffold else strategy_class(config.server.optimiser))(
            model=GlobalModel(vector=vector, layout=layout, frozen=roll.frozen),
            mechanism=Mechanism(
                plan=plan,
                bounds=bounds,
                quantiser=quantiser,
                noise_shape=config.privacy.noise_shape,
                adaptive=make_adaptive(config.privacy),
            ),
            server_step=ServerStep(
                optimiser=optimiser, learning_rate=config.server.learning_rate, schedule=schedule
            ),
            run=TrainingRun(
                population_index=roll.population_index,
                ledger=opened.account.ledger,
                dataset=opened.account.people,
                run_id=opened.account.run,
                spent_elsewhere=opened.account.elsewhere,
            ),
            round_deadline_seconds=config.training.round_deadline_seconds,
            on_raw_metrics=opened.folder.append_raw_metrics if config.run.raw_metrics else None,
            declared=declared,
        )
        account, synthetic = opened.account, roll.synthetic
        spending = Spending(plan=plan, extrapolated=extrapolated, account=account, synthetic=synthetic)
        return cls(
            config=config,
            model=model,
            strategy=strategy,
            held_out=held_out,
            folder=opened.folder,
            files=RunFiles(
                folder=opened.folder,
                identity=identity,
                account=account,
                strategy=strategy,
                model=model,
                synthetic=synthetic,
            ),
            spending=spending,
            screen=RunScreen(
                config=config,
                folder=opened.folder,
                model=model,
                strategy=strategy,
                spending=spending,
                held_out=held_out,
                resumed_after=interrupted.checkpoint.round_number if interrupted else None,
            ),
            interrupted=interrupted,
            skipped=roll.skipped,
            node_changes=NodeChanges(roll.population_index, (*opened.remarks, *unprotected(account.lineage))),
        )

    def run(self, grid: StreamingGrid) -> Path:
        """Make all rounds that are left, then write the summary; return the run folder.

        Raises:
            TooFewAnswers: After the summary, if too few nodes answered a round; the run can be resumed.
            RepliesRefused: After the summary, if the reply of a simulated node was refused.
        """
        self.started = self.round_started = time.monotonic()
        self._begin()
        try:
            run_rounds(
                self.strategy,
                grid,
                first=self.rounds_done + 1,
                last=self.config.training.rounds,
                deadline_seconds=self.config.training.round_deadline_seconds,
                after_round=lambda number: self._after_round(number, grid),
            )
        except BudgetExhausted as exhausted:
            self.stopped_because = str(exhausted)
        except (TooFewAnswers, RepliesRefused) as stop:
            self.stopped_because = str(stop)
            self._finish()
            raise
        self._finish()
        return self.folder.path

    def _begin(self) -> None:
        """Print the heading; evaluate and write the seed model, or load the interrupted run's checkpoint."""
        self.screen.print_heading(self.node_changes.remarks)
        self.evaluations = ModelEvaluations.of_seed(self.held_out, self.model)
        if self.interrupted is None:
            self.files.save_seed()
        else:
            self.rounds_done = self.interrupted.checkpoint.round_number
            load_state(self.strategy, self.interrupted.checkpoint.tensors)
            self.evaluations.evaluate(self.model)
        self._print_row(self.evaluations.newest)
        self.round_started = time.monotonic()

    def _after_round(self, round_number: int, grid: StreamingGrid) -> None:
        self.rounds_done = round_number
        note_head(self.spending.account.ledger)  # before anything of this round can be seen
        run, training = self.config.run, self.config.training
        last = round_number == training.rounds
        if last or round_number % self.files.rounds_between(run.checkpoint_every, training.rounds) == 0:
            self.files.save_round(round_number)
        evaluated = last or round_number % training.evaluate_every == 0
        self._print_row(self.evaluations.evaluate(self.model) if evaluated else None)
        changes = self.node_changes.update(set(grid.get_node_ids()), self.strategy.changed)
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

    def _finish(self) -> None:
        self.files.save_round(self.rounds_done)
        if self.stopped_because:  # the newest evaluation may be some rounds old
            self.evaluations.evaluate(self.model)
        course = Course(
            config=self.config,
            folder=self.folder,
            model=self.screen.model_in_words,
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
        print("\n" + text, flush=True)
