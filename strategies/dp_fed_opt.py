"""DP-FedOpt: the paper's Algorithm 1 on Flower's message-based `Strategy`.

Per round: a Poisson cohort over speakers, one task per node that holds a drawn speaker, replies added
as they arrive, the ledger entry, noise once on the sum, division by the fixed expected cohort, a step
of the server optimiser. `strategies/named.py` has it under the names of its optimisers (`DPFedAdam`, ...).

Guarantee: every model that leaves `aggregate_train` is post-processing of Gaussian releases with the
plan's noise multiplier on cohorts drawn as its sampler says, under its adjacency (without bands and caps:
Poisson sampling, zero-out / add-or-remove of one speaker), and the ledger held (on disk) each release before
its noise was drawn. A missing, late, failed or refused reply counts as zero and changes neither noise nor
divisor.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from torch import Tensor

from optim import ServerOptimiser
from optim.schedules import Schedule, constant
from privacy import (
    ClipBounds,
    LayerLayout,
    Ledger,
    NoiseSource,
    PrivacyPlan,
    QuantileClip,
    Quantiser,
    Release,
    SecureGaussian,
    draw_cohort,
    ledger_releases,
)
from privacy.clipping.adaptive import half_bit_in_steps
from privacy.clipping.quantisation import squared_limits
from privacy.kernels import scale_into_
from privacy.noise.factory import charge_of, make_noise
from privacy.noise.seeded import SeededGaussian
from privacy.noise.shape import relative_stds
from privacy.plan import SEEDED
from privacy.released_metrics import STATISTICS, read_statistics, unit_in_steps
from strategies.aggregation import CohortSum
from strategies.population import PopulationIndex
from strategies.round import OpenRound, RoundReport
from wire.declared_plan import DeclaredPlan
from wire.messages import Task, pack_vector
from wire.raw_metrics import RawMetrics
from wire.traffic import array_bytes


class DPFedOpt(Strategy):  # type: ignore[misc]  # flwr is untyped for us
    """User-level DP federated optimisation under one frozen `PrivacyPlan`.

    Args:
        vector (Tensor): (d,) float32, the global model; this strategy owns it and moves it in place.
        layout (LayerLayout): Names and shapes of the d coordinates.
        bounds (ClipBounds): Clip bounds of the released vector: d model coordinates and the statistics.
        roster (Roster): Nodes and their numbers of speakers; its population must be the plan's.
        dataset, run_id (str): Names under which the ledger files the releases.
        spent_elsewhere (iterable of Release): What the runs that the seed model came from released into other
            ledgers: a budget counts it too.
        frozen (str): Digest of the model's parameters outside `vector`, which the nodes must hold too.
        on_raw_metrics (callable, optional): Simulations only: asks the nodes for un-noised metrics, which no
            guarantee covers, and is called with (round, node, metrics) for each that answers.
        noise_shape (str): How the plan's noise is laid out over the slices (`privacy.noise.shape`). The noise
            itself is made from the plan, here: nobody can hand in noise that its accounting does not fit.
        adaptive (QuantileClip): How `bounds` follow the updates, if they do; the bounds then carry
            indicators.
        declared (Declared): What the nodes are told of the plan, whose owners have limits for it.
    """

    def __init__(
        self,
        *,
        vector: Tensor,
        layout: LayerLayout,
        plan: PrivacyPlan,
        bounds: ClipBounds,
        quantiser: Quantiser,
        population_index: PopulationIndex,
        optimiser: ServerOptimiser,
        ledger: Ledger,
        learning_rate: float,
        run_id: str,
        dataset: str,
        spent_elsewhere: Iterable[Release] = (),
        frozen: str = "",
        schedule: Schedule = constant,
        round_deadline_seconds: float = 600.0,
        on_raw_metrics: Callable[[int, int, RawMetrics], None] | None = None,
        noise_shape: str = "isotropic",
        adaptive: QuantileClip | None = None,
        declared: DeclaredPlan | None = None,
    ) -> None:
        if population_index.population != plan.population:
            raise ValueError(
                f"the plan is for {plan.population} speakers, the nodes hold {population_index.population}: "
                "make the plan for the population that is there"
            )
        released = (bounds.model_size, bounds.statistics)
        if vector.shape != (layout.size,) or released != (layout.size, len(STATISTICS)):
            raise ValueError(
                f"vector {tuple(vector.shape)}, layout {layout.size}, bounds {bounds.model_size} with "
                f"{bounds.statistics} statistics (expected {len(STATISTICS)}): they do not fit together"
            )
        _ = squared_limits(bounds, quantiser)  # refuses a grid that was made for other bounds
        _ = relative_stds(noise_shape, bounds)  # refuses a shape that these bounds do not allow
        if not unit_in_steps(bounds, quantiser) or (
            bounds.indicators and not half_bit_in_steps(bounds, quantiser)
        ):
            raise ValueError(f"a grid of {quantiser.bits} bits is too coarse for statistics: give it more")
        if plan.bands > 1 and adaptive is not None and noise_shape != "isotropic":
            raise ValueError(
                f"bands={plan.bands} with noise_shape={noise_shape!r} and adaptive clipping: correlated "
                "noise cannot change its shape between rounds; use 'isotropic'"
            )
        if (adaptive is None) != (bounds.indicators == 0):
            raise ValueError(
                f"adaptive clipping is {'off' if adaptive is None else 'on'} and the bounds have "
                f"{bounds.indicators} indicators: make the bounds with adaptive={adaptive is not None}"
            )
        self.vector, self.layout = vector, layout
        self.plan, self.bounds, self.quantiser = plan, bounds, quantiser
        self.population_index, self.optimiser, self.ledger = population_index, optimiser, ledger
        self.learning_rate, self.schedule = learning_rate, schedule
        self.run_id, self.dataset, self.frozen = run_id, dataset, frozen
        self.spent_elsewhere = tuple(spent_elsewhere)
        self.round_deadline_seconds = round_deadline_seconds
        self._on_raw_metrics = on_raw_metrics
        self.noise = make_noise(plan, noise_shape)
        self.adaptive = adaptive
        self.declared = declared
        self.last_report: RoundReport | None = None
        self.failures: dict[int, list[str]] = {}
        self.changed: set[int] = set()  # nodes that no longer hold what they held at the roll call
        self._round: OpenRound | None = None
        self._step = 0  # rounds released by this process: where in a cycle of correlated noise we are

    def arrays(self) -> ArrayRecord:
        """The global model as Flower's record."""
        return pack_vector(self.vector)

    def state_dict(self) -> dict[str, Tensor]:
        """What the next round needs beside vector and optimiser; all of it is released already."""
        if self.adaptive is None:
            return {}
        return {"clip_bounds": torch.tensor(self.bounds.bounds, dtype=torch.float64)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a `state_dict`.

        Raises:
            ValueError: If the state is of a run with other mechanisms or other slices.
        """
        if set(state) != set(self.state_dict()):
            raise ValueError(
                f"the state holds {sorted(state)}, this run keeps {sorted(self.state_dict())}: resume "
                "with the privacy section of the run's own config.toml"
            )
        if "clip_bounds" in state:
            self._set_bounds(replace(self.bounds, bounds=tuple(state["clip_bounds"].tolist())))

    # --- Flower's Strategy -----------------------------------------------------------------------

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """Draw the cohort and address its nodes; a node without a drawn speaker is not contacted.

        Raises:
            BudgetExhausted: If this round would pass the plan's budget; nothing has been drawn or sent then.
        """
        if self.plan.charge(self._step) is not None:
            self._require_budget()
        drawn = draw_cohort(self.plan, self._step)
        nonce = secrets.token_hex(8)
        tasks = {
            node: Task(
                round_number=server_round,
                nonce=nonce,
                layout=self.layout.digest,
                speakers=tuple(speakers),
                bounds=self.bounds,
                quantiser=self.quantiser,
                run=self._visited_as(),
                dataset=self.population_index.dataset(node),
                frozen=self.frozen,
                raw_metrics=self._on_raw_metrics is not None,
                plan=self.declared,
            )
            for node, speakers in self.population_index.locate(drawn).items()
        }
        messages = [
            task.to_message(node, arrays, self.round_deadline_seconds) for node, task in tasks.items()
        ]
        self._round = OpenRound(
            number=server_round,
            drawn=len(drawn),
            tasks=tasks,
            envelopes=[message.metadata for message in messages],
            bytes_down=array_bytes(messages[0].content) if messages else 0,
            on_raw_metrics=self._on_raw_metrics,
        )
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord, MetricRecord]:
        """`finish_round`, and the new model as a record."""
        statistics = self.finish_round(server_round, replies)
        return self.arrays(), MetricRecord(dict(statistics))

    def finish_round(self, server_round: int, replies: Iterable[Message]) -> dict[str, float]:
        """Add the replies as they come, then spend, release and step; returns the released statistics.

        A round that fails on the way is over: its cohort is never released twice, since a second release of
        the same people would cost more than the ledger's entry for a fresh cohort says.
        Memory beside vector and optimiser: the sum, which becomes the mean, and one reply.
        """
        current, self._round = self._round, None
        if current is None or current.number != server_round:
            raise RuntimeError(f"round {server_round} was not configured: configure_train comes first")
        total = CohortSum(current.tasks, bounds=self.bounds, quantiser=self.quantiser)
        dropped = current.collect(total, replies)
        for drop in dropped:
            self.failures.setdefault(drop.node, []).append(drop.reason)
        self.changed |= current.changed
        released = self._release(server_round, total)
        rate = self.learning_rate * self.schedule(server_round, self.plan.rounds)
        in_steps = released[self.bounds.model_size :].double() * (self.plan.cohort / self.quantiser.step)
        statistics = read_statistics(
            in_steps[: self.bounds.statistics], self.plan.cohort, self.bounds, self.quantiser
        )
        self.optimiser.step_(self.vector, released[: self.layout.size], rate)
        self.last_report = RoundReport(
            round_number=server_round,
            drawn=current.drawn,
            nodes_asked=len(current.tasks),
            nodes_answered=total.nodes,
            learning_rate=rate,
            statistics=statistics,
            dropped=tuple(dropped),
            clip_bound=self.bounds.total,
            traffic=current.traffic(),
        )
        self._adapt(in_steps[self.bounds.statistics :])
        return statistics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """None: evaluation on clients would leave un-noised; the server has held-out speakers."""
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> None:
        """Run the (empty) stream of replies dry."""
        for _ in replies:
            continue

    def summary(self) -> None:
        """Flower's hook for a log of the settings; the run's own table shows them."""

    # --- The round's steps -----------------------------------------------------------------------

    def _require_budget(self) -> None:
        """This run's releases are of one plan; those of other runs on the people were known before it, and
        so were those of the seed model's."""
        of_others = (entry for entry in self.ledger.entries if entry.run != self.run_id)
        self.plan.require_budget(
            own=self.ledger.releases(self.dataset, self.run_id),
            others=(*ledger_releases(of_others, self.dataset), *self.spent_elsewhere),
        )

    def _release(self, server_round: int, total: CohortSum) -> Tensor:
        """The noised mean (bounds.size,) in update units, in the memory of the sum; spent first."""
        charge = charge_of(self.plan, self.noise, self._step)
        if charge is not None:
            self.ledger.spend(charge, run=self.run_id, dataset=self.dataset, round=server_round)
        self._step += 1
        to_mean = self.quantiser.step / self.plan.cohort
        mean = total.integers.view(torch.float32)[: self.bounds.size]  # written where the sum was read
        noised = self.noise.noised_blocks(
            total.integers,
            self.bounds,
            self.quantiser,
            self.plan.noise_multiplier,
            self._source(server_round),
        )
        for begin, end, block in noised:
            scale_into_(mean[begin:end].numpy(), block, to_mean)
        return mean

    def _visited_as(self) -> str:
        """What names this run where speakers draw their batches: only a run that repeats its noise repeats
        them too."""
        return f"seed {self.plan.noise_seed}" if self.plan.noise_source == SEEDED else self.run_id

    def _source(self, server_round: int) -> NoiseSource:
        """Fresh noise under a key of its own; repeatable noise only where the plan owns up to it."""
        if self.plan.noise_source == SEEDED:
            return SeededGaussian(self.plan.noise_seed, server_round)
        return SecureGaussian()

    def _adapt(self, indicators: Tensor) -> None:
        """Move the bounds for the next round by what this round released (grid steps)."""
        if self.adaptive is not None:
            self._set_bounds(
                self.adaptive.next_bounds(indicators, self.plan.cohort, self.bounds, self.quantiser)
            )

    def _set_bounds(self, bounds: ClipBounds) -> None:
        self.bounds, self.quantiser = bounds, Quantiser.of(bounds, bits=self.quantiser.bits)
