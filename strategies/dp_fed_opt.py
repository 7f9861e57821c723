"""DP-FedOpt: the paper's Algorithm 1 on Flower's message-based `Strategy`.

Each round draws a Poisson cohort of speakers and sends one task to each node that holds a drawn speaker. It
adds the replies as they arrive, writes the ledger entry, adds noise once to the sum, divides by the fixed
expected cohort, and takes a step of the server optimiser. `strategies/named.py` has one class for each
optimiser (`DPFedAdam`, ...).

Guarantee: every model that leaves `aggregate_train` is post-processing of Gaussian releases with the plan's
noise multiplier, on cohorts drawn by the plan's sampler, under the plan's adjacency (without bands and caps:
Poisson sampling, zero-out / add-or-remove of one speaker). The ledger holds each release on disk before its
noise is drawn. A missing, late, failed or refused reply counts as zero and changes neither noise nor divisor.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from torch import Tensor

from privacy import ClipBounds, NoiseSource, Quantiser, SecureGaussian, draw_cohort, ledger_releases
from privacy.group_statistics import ReleasedGroup, RunStatistics
from privacy.kernels import scale_into_
from privacy.layer_groups import layer_groups
from privacy.noise.factory import charge_of, make_noise
from privacy.noise.seeded import SeededGaussian
from privacy.noise.shape import relative_stds
from privacy.plan import SEEDED
from privacy.signal_to_noise import signal_to_noise
from strategies.aggregation import CohortSum
from strategies.mechanism import Mechanism
from strategies.parts import GlobalModel, ServerStep, TrainingRun
from strategies.round import Asked, OpenRound, RoundReport
from strategies.training_only import TrainingOnly
from wire.deadlines import message_seconds
from wire.declared_plan import DeclaredPlan
from wire.messages import Task, pack_vector
from wire.raw_metrics import RawMetrics
from wire.traffic import array_bytes

OnMean = Callable[[int, Tensor, Tensor], None]
"""Called with the round, the released mean (d,), and the vector (d,) before the step. It may change the mean.
Post-processing: it sees what has been released, and nothing else."""


class DPFedOpt(TrainingOnly):
    """User-level DP federated optimisation under one frozen `PrivacyPlan`, with any server optimiser.

    The attribute `on_mean` is for experiments: None, or an `OnMean` that is called before each server step.

    Args:
        model: The model, which the strategy changes in place.
        mechanism: Plan, clip bounds and noise.
        server_step: Optimiser, learning rate and schedule.
        run: The population and the ledger; the plan must be for this population.
        round_deadline_seconds: The time after which a task expires.
        on_raw_metrics: For simulations only. If given, the nodes are asked for un-noised metrics, which no
            guarantee covers, and it is called with (round, node, metrics) for each node that sends them.
        declared: What the server tells the nodes about the plan, for the limits of their owners.

    Raises:
        ValueError: If model, mechanism and population do not fit together.

    Example:
        >>> from tempfile import mkdtemp
        >>> from optim import SGD
        >>> from privacy import Ledger, PrivacyPlan
        >>> from strategies import PopulationIndex
        >>> model, nodes = GlobalModel.of(torch.nn.Linear(3, 2)), PopulationIndex.of({1: 40, 2: 60})
        >>> plan = PrivacyPlan(population=100, cohort=20.0, rounds=5, noise_multiplier=1.0, delta=1e-3)
        >>> ledger = Ledger.open(f"{mkdtemp()}/ledger.jsonl")
        >>> strategy = DPFedOpt(
        ...     model=model,
        ...     mechanism=Mechanism.of(plan, model.layout, clip_bound=0.5),
        ...     server_step=ServerStep(optimiser=SGD(momentum=0.0), learning_rate=1.0),
        ...     run=TrainingRun(population_index=nodes, ledger=ledger, dataset="ward", run_id="first"),
        ... )
        >>> strategy.arrays()["vector"].shape
        (8,)
    """

    def __init__(
        self,
        *,
        model: GlobalModel,
        mechanism: Mechanism,
        server_step: ServerStep,
        run: TrainingRun,
        round_deadline_seconds: float = 600.0,
        on_raw_metrics: Callable[[int, int, RawMetrics], None] | None = None,
        declared: DeclaredPlan | None = None,
    ) -> None:
        mechanism.require_fit(model.layout, run.population_index.population)
        self.vector, self.layout, self.frozen = model.vector, model.layout, model.frozen
        self.plan, self.bounds, self.quantiser = mechanism.plan, mechanism.bounds, mechanism.quantiser
        self.noise, self.adaptive = make_noise(self.plan, mechanism.noise_shape), mechanism.adaptive
        self.statistics = RunStatistics.in_bounds(model.layout, mechanism.bounds)
        self._noise_shape = mechanism.noise_shape
        self.optimiser, self.server_step = server_step.optimiser, server_step
        self.population_index, self.ledger, self.run = run.population_index, run.ledger, run
        self.round_deadline_seconds = round_deadline_seconds
        self._on_raw_metrics = on_raw_metrics
        self.declared = declared
        self.on_mean: OnMean | None = None
        self.last_report: RoundReport | None = None
        self.failures: dict[int, list[str]] = {}
        self.changed: set[int] = set()  # nodes whose data changed after registration
        self._round: OpenRound | None = None
        self._step = 0  # rounds released by this process: the position in a cycle of correlated noise

    def arrays(self) -> ArrayRecord:
        """The global model as Flower's record."""
        return pack_vector(self.vector)

    def state_dict(self) -> dict[str, Tensor]:
        """What the next round needs besides vector and optimiser; all of it has been released already."""
        if self.adaptive is None:
            return {}
        return {"clip_bounds": torch.tensor(self.bounds.bounds, dtype=torch.float64)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a `state_dict`.

        Raises:
            ValueError: If the state belongs to a run with another mechanism or other slices.
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
        """Draw the cohort and make a task for each of its nodes; a node without a drawn speaker gets none.

        Raises:
            BudgetExhausted: If this round would exceed the plan's budget; nothing has been drawn or sent.
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
                run=self._run_of_batches(),
                dataset=self.population_index.dataset(node),
                portion=self.population_index.portion(node),
                frozen=self.frozen,
                raw_metrics=self._on_raw_metrics is not None,
                plan=self.declared,
            )
            for node, speakers in self.population_index.locate(drawn).items()
        }
        ttl = message_seconds(self.round_deadline_seconds)
        addressed = list(self.run.addressing.messages(tasks, arrays, ttl))
        messages = [message for _, message in addressed]
        self._round = OpenRound(
            number=server_round,
            drawn=len(drawn),
            tasks=tasks,
            asked=[Asked(message.metadata, nodes) for nodes, message in addressed],
            addressing=self.run.addressing,
            bytes_down=array_bytes(messages[0].content) if messages else 0,
            tensors=len(self.layout),
            on_raw_metrics=self._on_raw_metrics,
        )
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord, MetricRecord]:
        """Finish the round; return the new model as a record, and the released statistics."""
        statistics = self.finish_round(server_round, replies)
        return self.arrays(), MetricRecord(dict(statistics))

    def finish_round(self, server_round: int, replies: Iterable[Message]) -> dict[str, float]:
        """Add the replies as they arrive, then spend, release and step; return the released statistics.

        A round that fails in between is over. Its cohort is never released twice: a second release of the
        same speakers would cost more than the ledger's entry, which is for a fresh cohort.
        Memory besides vector and optimiser: the sum, which becomes the mean, and one reply.

        Raises:
            RuntimeError: If `configure_train` was not called for this round.
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
        rate = self.server_step.rate(server_round, self.plan.rounds)
        in_steps = released[self.bounds.model_size :].double() * (self.plan.cohort / self.quantiser.step)
        statistics, groups = self.statistics.read(
            in_steps[: self.bounds.statistics], self.plan.cohort, self.bounds, self.quantiser
        )
        mean = released[: self.layout.size]
        groups = self._with_signal_to_noise(groups, mean)
        if self.on_mean is not None:
            self.on_mean(server_round, mean, self.vector)
        self.optimiser.step_(self.vector, mean, rate)
        self.last_report = RoundReport(
            round_number=server_round,
            drawn=current.drawn,
            nodes_asked=len(current.tasks),
            nodes_answered=total.nodes,
            learning_rate=rate,
            statistics=statistics,
            groups=groups,
            dropped=tuple(dropped),
            clip_bound=self.bounds.total,
            traffic=current.traffic(),
        )
        self._adapt(in_steps[self.bounds.statistics :])
        return statistics

    # --- The round's steps -----------------------------------------------------------------------

    def _require_budget(self) -> None:
        """Count this run's releases, which follow one plan, apart from those known before it: releases of
        other runs on the population, and of the seed model's runs."""
        dataset, run_id = self.run.dataset, self.run.run_id
        of_others = (entry for entry in self.ledger.entries if entry.run != run_id)
        self.plan.require_budget(
            own=self.ledger.releases(dataset, run_id),
            others=(*ledger_releases(of_others, dataset), *self.run.spent_elsewhere),
        )

    def _release(self, server_round: int, total: CohortSum) -> Tensor:
        """Spend, then return the noised mean (bounds.size,) in update units, in the memory of the sum."""
        charge = charge_of(self.plan, self.noise, self._step)
        if charge is not None:
            run = self.run
            self.ledger.spend(charge, run=run.run_id, dataset=run.dataset, round=server_round)
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

    def _with_signal_to_noise(
        self, groups: tuple[ReleasedGroup, ...], mean: Tensor
    ) -> tuple[ReleasedGroup, ...]:
        """The released groups with their signal to noise; unchanged where the noise of a round says little.

        That is without noise, and with bands, where later rounds take a part of it back.
        """
        plan, bounds = self.plan, self.bounds
        if not plan.noise_multiplier or plan.bands > 1:
            return groups
        scale = plan.sigma_dp * bounds.total
        stds = [scale * std for std in relative_stds(self._noise_shape, bounds)]
        of_layers = layer_groups(self.layout)
        ratios = signal_to_noise(mean, stds, of_layers, self.layout, bounds)
        named = groups or tuple(ReleasedGroup(name=one.name) for one in of_layers)
        return tuple(
            replace(group, signal_to_noise=ratio) for group, ratio in zip(named, ratios, strict=True)
        )

    def _run_of_batches(self) -> str:
        """The name of the run from which speakers draw their batches.

        Only a run that repeats its noise repeats its batches.
        """
        return f"seed {self.plan.noise_seed}" if self.plan.noise_source == SEEDED else self.run.run_id

    def _source(self, server_round: int) -> NoiseSource:
        """Fresh noise under a key of its own; repeatable noise only if the plan states it."""
        if self.plan.noise_source == SEEDED:
            return SeededGaussian(self.plan.noise_seed, server_round)
        return SecureGaussian()

    def _adapt(self, indicators: Tensor) -> None:
        """Move the bounds for the next round by the released indicators (in quantisation steps)."""
        if self.adaptive is not None:
            self._set_bounds(
                self.adaptive.next_bounds(indicators, self.plan.cohort, self.bounds, self.quantiser)
            )

    def _set_bounds(self, bounds: ClipBounds) -> None:
        self.bounds, self.quantiser = bounds, Quantiser.of(bounds, bits=self.quantiser.bits)
