"""A whole federation, from roll call to summary: the one function behind the ServerApp.

Everything is checked before the first round; then each round is trained, released, evaluated, filed
and shown. What a run has released so far is on disk at every moment.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import nan
from pathlib import Path
from threading import Thread

import numpy as np
from flwr.serverapp import Grid
from flwr.superlink.grid import InMemoryGrid

from base.printable_text import one_line
from optim.trainable import freeze, frozen_digest
from privacy import (
    Ancestor,
    BudgetExhausted,
    Lineage,
    PrivacyPlan,
    Release,
    SecureGaussian,
    epsilon,
    rdp_epsilon,
)
from privacy.kernels import load_compiler
from privacy.ledger.lineage import lineage_to_json
from recipes import RunConfig
from server.evaluation import HeldOut, transcribed_sentences
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
from server.report import live_table
from server.report.live_table import Row
from server.report.metrics import as_metrics
from server.report.model_card import model_card
from server.report.summary import speakers_in_training, summarise, unprotected
from server.storage.ancestry import LINEAGE
from server.storage.checkpoint_interval import rounds_between
from server.storage.checkpoints import Checkpoint, Identity, save_checkpoint
from server.storage.ledgers import Account
from server.storage.lost_entries import note_head
from server.storage.populations import PopulationIdentity
from server.storage.resumption import Interrupted, open_run
from server.storage.run_folder import RunFolder
from speech.evaluation.evaluation import Evaluation
from speech.model.checkpoint import save_model
from speech.model.ctc_transformer import CTCTransformer
from speech.text import alphabet_of
from strategies import DPFedOpt, StreamingGrid, bind, run_rounds
from strategies.scaffold import Scaffold
from strategies.state import load_state, state_of
from wire.declared_plan import DeclaredPlan

LONGEST_REMARK = 2000
MESSAGES_UNDER_WAY = 64  # in a simulation, whose messages lie in this process's memory


def run_federation(grid: Grid, config: RunConfig, *, run_id: str) -> Path:
    """Run the federation that `config` describes; returns the run folder.

    Raises:
        ConfigError, SpeechError, RollCallError, ResumeRefused, PrivacyError: If the run cannot start, or
            cannot go on; nothing has been drawn or spent then.
    """
    interrupted = Interrupted.find(config)
    alphabet = alphabet_of(config.corpus.language, config.corpus.characters)
    model = interrupted.seed_model() if interrupted else starting_model(config.model, alphabet)
    freeze(model, config.model.trainable)
    held_out = HeldOut.of(config.corpus, config.model.preset)
    simulated = isinstance(grid, InMemoryGrid)
    streaming = StreamingGrid(grid, window=MESSAGES_UNDER_WAY if simulated else 0, simulated=simulated)
    Thread(target=_load_what_is_needed_later, daemon=True).start()
    roll = register_nodes(
        streaming,
        config.training,
        frozen_digest(model),
        held_out.held_out_speakers(config.corpus),
        planned=config.privacy.population,
    )
    plan = make_plan(config, roll.population_index.population)
    config = with_time_for_all(config, plan, roll.population_index.counts, simulated=simulated)
    declared = None
    if not simulated:
        declared = DeclaredPlan.of(plan)
        declare(streaming, declared, roll.population_index.nodes, config.training.wait_seconds)
    federation = Federation.prepare(config, model, held_out, roll, plan, run_id, interrupted, declared)
    with federation.strategy.ledger:
        return federation.run(streaming)


def _load_what_is_needed_later() -> None:
    """Seconds for which the first round would wait; the nodes are awaited anyway."""
    load_compiler()
    SecureGaussian().add_rounded_(np.zeros(1, dtype=np.int64), 1.0)
    rdp_epsilon([Release(sampling_rate=0.5, noise_multiplier=1.0)], 0.5)


@dataclass(kw_only=True)
class Federation:
    """A prepared run: the strategy, the model bound to its vector, and where its results go."""

    config: RunConfig
    model: CTCTransformer
    strategy: DPFedOpt
    held_out: HeldOut
    folder: RunFolder
    extrapolated: PrivacyPlan
    account: Account
    identity: Identity
    synthetic: bool
    interrupted: Interrupted | None
    skipped: int
    node_changes: NodeChanges
    seed_reading: Evaluation | None = None
    last_reading: Evaluation | None = None
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
    ) -> Federation:
        """Make the run folder, or reopen that of the interrupted run, and all that a round needs."""
        layout, vector = bind(model)
        bounds, quantiser = make_bounds(config.privacy, layout)
        optimiser, schedule = make_server_step(config.server, layout)
        identity = Identity.of(config, plan, layout.digest, roll.dataset, roll.frozen)
        extrapolated = make_extrapolated(config, plan)
        people = PopulationIdentity(
            digests=frozenset(roll.population_index.datasets), tokens=roll.tokens, synthetic=roll.synthetic
        )
        opened = open_run(config, identity, people, interrupted, run_id)
        strategy = (Scaffold if config.local.algorithm == "scaffold" else DPFedOpt)(
            vector=vector,
            layout=layout,
            plan=plan,
            bounds=bounds,
            quantiser=quantiser,
            population_index=roll.population_index,
            optimiser=optimiser,
            ledger=opened.account.ledger,
            learning_rate=config.server.learning_rate,
            schedule=schedule,
            run_id=opened.account.run,
            dataset=opened.account.people,
            spent_elsewhere=opened.account.elsewhere,
            frozen=roll.frozen,
            round_deadline_seconds=config.training.round_deadline_seconds,
            on_raw_metrics=opened.folder.append_raw_metrics if config.run.raw_metrics else None,
            noise_shape=config.privacy.noise_shape,
            adaptive=make_adaptive(config.privacy),
            declared=declared,
        )
        return cls(
            config=config,
            model=model,
            strategy=strategy,
            held_out=held_out,
            folder=opened.folder,
            extrapolated=extrapolated,
            account=opened.account,
            identity=identity,
            synthetic=roll.synthetic,
            interrupted=interrupted,
            skipped=roll.skipped,
            node_changes=NodeChanges(
                roll.population_index, (*opened.remarks, *unprotected(opened.account.lineage))
            ),
        )

    def run(self, grid: StreamingGrid) -> Path:
        """All rounds that are left, then the summary.

        Raises:
            TooFewAnswers: After the summary, if a round had too few; the run can be resumed.
            RepliesRefused: After the summary, if a reply of a simulated node was refused.
        """
        self.started = self.round_started = time.monotonic()
        self._begin()
        try:
            run_rounds(
                self.strategy,
                grid,
                first=self.rounds_done + 1,
                last=self.config.training.rounds,
                timeout_seconds=self.config.training.round_deadline_seconds,
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

    # --- Before, between and after the rounds ------------------------------------------------------

    def _begin(self) -> None:
        """The seed model, and in a resumed run what its checkpoint holds, are read, filed and shown."""
        self._announce()
        self.seed_reading = self.last_reading = self.held_out.read_by(self.model)
        if self.interrupted is None:
            self._save_model(self.folder.seed, self.account.lineage)
            self._save_checkpoint()
        else:
            self.rounds_done = self.interrupted.checkpoint.round_number
            load_state(self.strategy, self.interrupted.checkpoint.tensors)
            self.last_reading = self.held_out.read_by(self.model)
        self._show(self.last_reading)
        self.round_started = time.monotonic()

    def _after_round(self, round_number: int, grid: StreamingGrid) -> None:
        self.rounds_done = round_number
        note_head(self.account.ledger)  # before anything of this round can be seen
        last = round_number == self.config.training.rounds
        if last or round_number % self._checkpoint_every() == 0:
            self._file_model()
        self._show(self._read() if last or round_number % self.config.training.evaluate_every == 0 else None)
        for remark in self.node_changes.look(set(grid.get_node_ids()), self.strategy.changed):
            print(f"       {one_line(remark)}", flush=True)
        if (report := self.strategy.last_report) is not None:
            self.folder.append_traffic(report, time.monotonic() - self.round_started)
            if grid.simulated:
                require_none_refused(report)
            if not last:
                require_answers(report, self.config.training.min_answers)
        self.round_started = time.monotonic()

    def _checkpoint_every(self) -> int:
        model = sum(value.nbytes for value in self.model.parameters())
        written = model + sum(value.nbytes for value in state_of(self.strategy).values())
        return rounds_between(self.config.run.checkpoint_every, written, self.config.training.rounds)

    def _file_model(self) -> None:
        self._save_checkpoint()
        self._save_model(self.folder.model, (*self.account.lineage, self._as_ancestor()))

    def _save_checkpoint(self) -> None:
        checkpoint = Checkpoint(
            round_number=self.rounds_done,
            identity=self.identity,
            ledger_head=self.strategy.ledger.head,
            tensors=state_of(self.strategy),
            privacy=self.strategy.plan.stamp,
            run=self.account.run,
            lineage=self.account.lineage,
        )
        save_checkpoint(self.folder.checkpoint(self.rounds_done), checkpoint)
        self.folder.drop_old_checkpoints()

    def _read(self) -> Evaluation:
        self.last_reading = self.held_out.read_by(self.model)
        return self.last_reading

    def _show(self, reading: Evaluation | None) -> None:
        account, delta = self.account, self.strategy.plan.delta
        released = max(account.releases, self.extrapolated.releases_in(self.rounds_done))
        people = epsilon(account.everything, delta, pld=False).value
        row = Row(
            report=self.strategy.last_report,
            round_number=self.rounds_done,
            loss=reading.loss if reading else nan,
            wer=reading.wer if reading else nan,
            cer=reading.cer if reading else nan,
            seconds=time.monotonic() - self.round_started,
            epsilon_run=epsilon(account.own, delta, pld=False).value,
            epsilon_extrapolated=self.extrapolated.epsilon_of(released, pld=False).value,
            epsilon_people=people if account.others else None,
            epsilon_model=epsilon(account.of_model, delta, pld=False).value if account.inherited else None,
        )
        print(live_table.line(row), flush=True)
        resumed = {"resumed": True} if self.interrupted and self.strategy.last_report is None else {}
        self.folder.append_metrics({**as_metrics(row), **resumed, "privacy": self.strategy.plan.stamp})

    def _announce(self) -> None:
        strategy = self.strategy
        model = f"{self._parameters()} in "
        opening = live_table.opening(
            nodes=len(strategy.population_index.nodes),
            speakers=strategy.plan.population,
            model=f"{model}{len(strategy.layout)} tensors, {self.config.privacy.clip_rule!r} clip bounds",
            folder=self.folder.path,
            resumed_after=self._resumed_after(),
        )
        held_out = len(self.held_out.speakers)
        for remark in self.node_changes.remarks:
            print(f"WARNING: {one_line(remark, most=LONGEST_REMARK)}", flush=True)
        if self.held_out.speakers_in_training:
            print(f"WARNING: {speakers_in_training(self.held_out.speakers_in_training)}", flush=True)
        heading = live_table.heading(
            strategy.plan, self.extrapolated, held_out, self.account.others, self.account.inherited
        )
        print(opening + heading, flush=True)

    def _parameters(self) -> str:
        return f"{self.config.model.preset} model, " + live_table.share_trained(
            self.model, self.strategy.layout.size
        )

    def _resumed_after(self) -> int | None:
        return self.interrupted.checkpoint.round_number if self.interrupted else None

    def _finish(self) -> None:
        self._file_model()
        if self.last_reading is None or self.seed_reading is None:
            return
        if self.stopped_because:
            self._read()  # the table's last reading may be some rounds old
        text = summarise(
            plan=self.strategy.plan,
            rounds=self.rounds_done,
            account=self.account,
            synthetic=self.synthetic,
            extrapolated=self.extrapolated,
            seed=self.seed_reading,
            final=self.last_reading,
            sentences=transcribed_sentences(
                self.seed_reading, self.last_reading, self.config.run.sentences_shown
            ),
            failures=self.strategy.failures,
            remarks=self.node_changes.remarks,
            skipped=self.skipped,
            skipped_held_out=len(self.held_out.store.skipped),
            known_voices=self.held_out.speakers_in_training,
            stopped_because=self.stopped_because,
            seconds=time.monotonic() - self.started,
            parameters=self._parameters(),
            folder=self.folder.path,
            raw_metrics=self.config.run.raw_metrics,
            resumed_after=self._resumed_after(),
            traffic=self.folder.traffic_of_all_rounds(),
        )
        evaluation = self.held_out.summary(self.last_reading)
        stamps = {"privacy": self.strategy.plan.stamp, "run": self.account.run}
        self.folder.write_evaluation({**stamps, **evaluation})
        self.folder.card.write_text(model_card(self.folder, self.config), encoding="utf-8")
        self.folder.summary.write_text(text, encoding="utf-8")
        print("\n" + text, flush=True)

    def _as_ancestor(self) -> Ancestor:
        """This run, as the next one inherits it."""
        plan, account = self.strategy.plan, self.account
        return Ancestor(
            run=account.run,
            people=account.people,
            private=plan.is_private,
            synthetic=self.synthetic,
            delta=plan.delta,
            adjacency=plan.adjacency,
            releases=account.own if plan.is_private else (),
        )

    def _save_model(self, path: Path, lineage: Lineage) -> None:
        extra = {
            "layout": self.strategy.layout.digest,
            "privacy": self.strategy.plan.stamp,
            "run": self.account.run,
            LINEAGE: lineage_to_json(lineage),
        }
        save_model(path, self.model, self.config.model.preset, extra)
