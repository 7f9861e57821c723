"""A whole federation, from roll call to summary: the one function behind the ServerApp.

Everything is checked before the first round; then each round is trained, released, evaluated, filed
and shown. What a run has released so far is on disk at every moment.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from math import nan
from pathlib import Path

from flwr.app import ArrayRecord
from flwr.serverapp import Grid as FlowerGrid

from privacy import BudgetExhausted, Ledger, PrivacyPlan, epsilon
from privacy.mechanisms import make_noise
from recipes import RunConfig
from server import live_table
from server.checkpoints import save_checkpoint
from server.evaluation import HeldOut, readings
from server.live_table import Row
from server.preparation import make_adaptive, make_bounds, make_plan, make_server_step, starting_model
from server.roll_call import RollCall, call_roll
from server.run_folder import RunFolder
from server.summary import summarise
from speech.checkpoint import save_model
from speech.evaluation import Evaluation
from speech.model import CTCTransformer
from strategies import DPFedOpt, StreamingGrid, bind
from strategies.scaffold import Scaffold

MESSAGES_UNDER_WAY = 64


def run_federation(grid: FlowerGrid, config: RunConfig, *, run_id: str) -> Path:
    """Run the federation that `config` describes; returns the run folder.

    Raises
    ------
    ConfigError, SpeechError, RollCallError
        If the run cannot start; nothing has been drawn or spent then.
    """
    model = starting_model(config.model)
    held_out = HeldOut.of(config.corpus, config.model.preset)
    streaming = StreamingGrid(grid, window=MESSAGES_UNDER_WAY)
    roll = call_roll(streaming, config.training)
    plan = make_plan(config, roll.roster.population)
    federation = Federation.prepare(config, model, held_out, roll, plan, run_id)
    return federation.run(streaming)


@dataclass(kw_only=True)
class Federation:
    """A prepared run: the strategy, the model bound to its vector, and where its results go."""

    config: RunConfig
    model: CTCTransformer
    strategy: DPFedOpt
    held_out: HeldOut
    folder: RunFolder
    extrapolated: PrivacyPlan
    skipped: int
    seed_reading: Evaluation | None = None
    last_reading: Evaluation | None = None
    stopped_because: str = ""
    started: float = 0.0
    round_started: float = 0.0

    @classmethod
    def prepare(
        cls,
        config: RunConfig,
        model: CTCTransformer,
        held_out: HeldOut,
        roll: RollCall,
        plan: PrivacyPlan,
        run_id: str,
    ) -> Federation:
        """Make the run folder and everything that a round needs."""
        layout, vector = bind(model)
        bounds, grid = make_bounds(config.privacy, layout)
        optimiser, schedule = make_server_step(config.server, layout)
        folder = RunFolder.create(config, run_id)
        strategy = (Scaffold if config.local.algorithm == "scaffold" else DPFedOpt)(
            vector=vector,
            layout=layout,
            plan=plan,
            bounds=bounds,
            grid=grid,
            roster=roll.roster,
            optimiser=optimiser,
            ledger=Ledger.open(folder.ledger),
            learning_rate=config.server.learning_rate,
            schedule=schedule,
            run_id=run_id,
            dataset=roll.dataset,
            round_deadline_seconds=config.training.round_deadline_seconds,
            on_raw_metrics=folder.append_raw_metrics if config.run.raw_metrics else None,
            noise=make_noise(plan, config.privacy.noise_shape),
            adaptive=make_adaptive(config.privacy),
        )
        extrapolated = plan.extrapolate(
            config.privacy.extrapolate_population, config.privacy.extrapolate_cohort
        )
        return cls(
            config=config,
            model=model,
            strategy=strategy,
            held_out=held_out,
            folder=folder,
            extrapolated=extrapolated,
            skipped=roll.skipped,
        )

    def run(self, grid: StreamingGrid) -> Path:
        """All rounds, then the summary."""
        self._save_model(self.folder.seed)
        self._announce()
        self.started = self.round_started = time.monotonic()
        try:
            self.strategy.start(
                grid,
                self.strategy.arrays(),
                num_rounds=self.config.training.rounds,
                timeout=self.config.training.round_deadline_seconds,
                evaluate_fn=self._after_round,
            )
        except BudgetExhausted as exhausted:
            self.stopped_because = str(exhausted)
        self._finish()
        return self.folder.path

    # --- Hooks ------------------------------------------------------------------------------------

    def _after_round(self, round_number: int, arrays: ArrayRecord) -> None:
        """Flower calls this with 0 before the first round and after each round."""
        if round_number:
            self._file_model(round_number)
        reading = self._read_if_due(round_number)
        self._show(round_number, reading)
        self.round_started = time.monotonic()

    def _file_model(self, round_number: int) -> None:
        every = self.config.run.checkpoint_every
        if round_number % every and round_number != self.config.training.rounds:
            return
        save_checkpoint(
            self.folder.checkpoint(round_number),
            vector=self.strategy.vector,
            optimiser=self.strategy.optimiser.state_dict(),
            round_number=round_number,
            layout=self.strategy.layout.digest,
            preset=self.config.model.preset,
            privacy=self.strategy.plan.stamp,
        )
        self.folder.drop_old_checkpoints()
        self._save_model(self.folder.model)

    def _read_if_due(self, round_number: int) -> Evaluation | None:
        last = round_number == self.config.training.rounds
        if round_number % self.config.training.evaluate_every and not last:
            return None
        reading = self.held_out.read_by(self.model)
        self.seed_reading = self.seed_reading or reading
        self.last_reading = reading
        return reading

    def _show(self, round_number: int, reading: Evaluation | None) -> None:
        plan = self.strategy.plan
        spent = self.strategy.ledger.releases(self.strategy.dataset)
        row = Row(
            report=self.strategy.last_report if round_number else None,
            loss=reading.loss if reading else nan,
            wer=reading.wer if reading else nan,
            cer=reading.cer if reading else nan,
            seconds=time.monotonic() - self.round_started,
            epsilon_run=epsilon(spent, plan.delta, pld=False).value,
            epsilon_extrapolated=self.extrapolated.epsilon(round_number, pld=False).value,
        )
        print(live_table.line(row), flush=True)
        self.folder.append_metrics({**_as_metrics(round_number, row), "privacy": plan.stamp})

    # --- Before and after -------------------------------------------------------------------------

    def _announce(self) -> None:
        strategy = self.strategy
        print(
            f"\nMurmuration: {len(strategy.roster.nodes)} nodes hold {strategy.plan.population} "
            f"speakers; {self.config.model.preset} model, {strategy.layout.size:,} parameters in "
            f"{len(strategy.layout)} tensors, {self.config.privacy.clip_rule!r} clip bounds\n"
            f"run folder: {self.folder.path}\n\n"
            f"{live_table.heading(strategy.plan, self.extrapolated, len(self.held_out.speakers))}",
            flush=True,
        )

    def _finish(self) -> None:
        self._save_model(self.folder.model)
        if self.last_reading is None or self.seed_reading is None:
            return
        text = summarise(
            plan=self.strategy.plan,
            rounds=self.strategy.last_report.round_number if self.strategy.last_report else 0,
            spent=self.strategy.ledger.releases(self.strategy.dataset),
            extrapolated=self.extrapolated,
            seed=self.seed_reading,
            final=self.last_reading,
            sentences=readings(self.seed_reading, self.last_reading, self.config.run.sentences_shown),
            failures=self.strategy.failures,
            skipped=self.skipped,
            skipped_held_out=len(self.held_out.store.skipped),
            heard_in_training=self.held_out.heard_in_training,
            stopped_because=self.stopped_because,
            seconds=time.monotonic() - self.started,
            folder=self.folder.path,
            raw_metrics=self.config.run.raw_metrics,
        )
        self.folder.write_summary(text)
        print("\n" + text, flush=True)

    def _save_model(self, path: Path) -> None:
        extra = {
            "layout": self.strategy.layout.digest,
            "privacy": self.strategy.plan.stamp,
        }
        save_model(path, self.model, self.config.model.preset, extra)


def _as_metrics(round_number: int, row: Row) -> dict[str, float | int | str | None]:
    metrics = {
        "round": round_number,
        "loss": row.loss,
        "wer": row.wer,
        "cer": row.cer,
        "seconds": row.seconds,
        "epsilon_rdp_this_run": row.epsilon_run,
        "epsilon_rdp_extrapolated": row.epsilon_extrapolated,
    }
    if row.report is None:
        return metrics
    report = asdict(row.report)
    statistics = report.pop("statistics")
    report["dropped"] = [asdict(drop) for drop in row.report.dropped]
    return {**report, **{f"{name}_noised": value for name, value in statistics.items()}, **metrics}
