"""DP-FedOpt: the paper's Algorithm 1 on Flower's message-based `Strategy`.

Per round: a Poisson cohort over speakers, one task per node that holds a drawn speaker, replies added
as they arrive, the ledger entry, noise once on the sum, division by the fixed expected cohort, a step
of the server optimiser. `strategies/named.py` has it under the names of its optimisers (`DPFedAdam`, ...).

Guarantee: every model that leaves `aggregate_train` is post-processing of Poisson-sampled Gaussian
releases with the plan's noise multiplier and sampling rate, under zero-out / add-or-remove of one
speaker, and the ledger held (on disk) each release before its noise was drawn. A missing, late,
failed or refused reply counts as zero and changes neither noise nor divisor.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid as FlowerGrid
from flwr.serverapp.strategy import Strategy
from torch import Tensor

from privacy import (
    ClipBounds,
    Grid,
    LayerLayout,
    Ledger,
    PrivacyPlan,
    ReplyRejected,
    SecureGaussian,
    poisson_sample,
)
from privacy.statistics import STATISTICS, read_statistics
from strategies.aggregation import CohortSum, Dropped
from strategies.optimisers import ServerOptimiser
from strategies.protocol import Answer, Task, pack_vector
from strategies.roster import Roster
from strategies.schedules import Schedule, constant

BLOCK = 1 << 22  # coordinates noised at a time: 64-bit scratch for a block, never for a whole model


@dataclass(frozen=True, kw_only=True)
class RoundReport:
    """What a round may tell: public facts, and statistics from inside the noised release."""

    round_number: int
    drawn: int
    nodes_asked: int
    nodes_answered: int
    learning_rate: float
    statistics: dict[str, float]
    dropped: tuple[Dropped, ...]


@dataclass(kw_only=True)
class _Round:
    """A round under way: who was asked what."""

    number: int
    drawn: int
    tasks: dict[int, Task]
    messages: list[Message] = field(default_factory=list)

    def asked_by_message(self) -> dict[str, int]:
        """Message id -> node; ids exist once the messages were pushed."""
        return {message.metadata.message_id: message.metadata.dst_node_id for message in self.messages}


class DPFedOpt(Strategy):  # type: ignore[misc]  # flwr is untyped for us
    """User-level DP federated optimisation under one frozen `PrivacyPlan`.

    Parameters
    ----------
    vector : Tensor
        (d,) float32, the global model; this strategy owns it and moves it in place.
    layout : LayerLayout
        Names and shapes of the d coordinates.
    bounds : ClipBounds
        Clip bounds of the released vector: d model coordinates and the statistics.
    roster : Roster
        Nodes and their numbers of speakers; its population must be the plan's.
    dataset, run_id : str
        Names under which the ledger files the releases.
    """

    def __init__(
        self,
        *,
        vector: Tensor,
        layout: LayerLayout,
        plan: PrivacyPlan,
        bounds: ClipBounds,
        grid: Grid,
        roster: Roster,
        optimiser: ServerOptimiser,
        ledger: Ledger,
        learning_rate: float,
        run_id: str,
        dataset: str,
        schedule: Schedule = constant,
        round_deadline_seconds: float = 600.0,
    ) -> None:
        if roster.population != plan.population:
            raise ValueError(
                f"the plan is for {plan.population} speakers, the nodes hold {roster.population}: "
                "make the plan for the population that is there"
            )
        released = (bounds.model_size, bounds.statistics)
        if vector.shape != (layout.size,) or released != (layout.size, len(STATISTICS)):
            raise ValueError(
                f"vector {tuple(vector.shape)}, layout {layout.size}, bounds {bounds.model_size} with "
                f"{bounds.statistics} statistics (expected {len(STATISTICS)}): they do not fit together"
            )
        self.vector, self.layout = vector, layout
        self.plan, self.bounds, self.grid = plan, bounds, grid
        self.roster, self.optimiser, self.ledger = roster, optimiser, ledger
        self.learning_rate, self.schedule = learning_rate, schedule
        self.run_id, self.dataset = run_id, dataset
        self.round_deadline_seconds = round_deadline_seconds
        self.last_report: RoundReport | None = None
        self.failures: dict[int, list[str]] = {}
        self._round: _Round | None = None

    def arrays(self) -> ArrayRecord:
        """The global model as Flower's record."""
        return pack_vector(self.vector)

    def state_dict(self) -> dict[str, Tensor]:
        """What the next round needs beside vector and optimiser: nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a `state_dict`."""

    # --- Flower's Strategy -----------------------------------------------------------------------

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: FlowerGrid
    ) -> list[Message]:
        """Draw the cohort and address its nodes; a node without a drawn speaker is not contacted.

        Raises
        ------
        BudgetExhausted
            If this round would pass the plan's budget; nothing has been drawn or sent then.
        """
        self.plan.require_budget(self.ledger.releases(self.dataset))
        drawn = poisson_sample(self.roster.population, self.plan.sampling_rate)
        nonce = secrets.token_hex(8)
        tasks = {
            node: Task(
                round_number=server_round,
                nonce=nonce,
                layout=self.layout.digest,
                speakers=tuple(speakers),
                bounds=self.bounds,
                grid=self.grid,
            )
            for node, speakers in self.roster.locate(drawn).items()
        }
        self._round = _Round(number=server_round, drawn=len(drawn), tasks=tasks)
        self._round.messages = [
            task.to_message(node, arrays, self.round_deadline_seconds) for node, task in tasks.items()
        ]
        return self._round.messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord, MetricRecord]:
        """Add the replies as they come, then spend, release and step."""
        current = self._round
        if current is None or current.number != server_round:
            raise RuntimeError(f"round {server_round} was not configured: configure_train comes first")
        total = CohortSum(current.tasks, bounds=self.bounds, grid=self.grid)
        dropped = self._collect(current, total, replies)
        released = self._release(server_round, total)
        rate = self.learning_rate * self.schedule(server_round, self.plan.rounds)
        statistics = read_statistics(
            released[self.layout.size :] * (self.plan.cohort / self.grid.step),
            current.drawn,
            self.bounds,
            self.grid,
        )
        self.optimiser.step_(self.vector, released[: self.layout.size], rate)
        self._round = None
        self.last_report = RoundReport(
            round_number=server_round,
            drawn=current.drawn,
            nodes_asked=len(current.tasks),
            nodes_answered=total.nodes,
            learning_rate=rate,
            statistics=statistics,
            dropped=tuple(dropped),
        )
        return self.arrays(), MetricRecord(dict(statistics))

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: FlowerGrid
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

    def _collect(self, current: _Round, total: CohortSum, replies: Iterable[Message]) -> list[Dropped]:
        asked = None
        dropped = []
        for reply in replies:
            asked = asked or current.asked_by_message()
            node = asked.get(reply.metadata.reply_to_message_id)
            try:
                if node is None:
                    raise ReplyRejected("it answers no message of this round")
                total.add(node, Answer.from_message(reply))
            except ReplyRejected as rejection:
                dropped.append(Dropped(node or reply.metadata.src_node_id, str(rejection)))
        told = {drop.node for drop in dropped}
        for node in total.silent_nodes():
            if node not in told:
                dropped.append(Dropped(node, "no reply before the deadline"))
        for drop in dropped:
            self.failures.setdefault(drop.node, []).append(drop.reason)
        return dropped

    def _release(self, server_round: int, total: CohortSum) -> Tensor:
        """The noised mean (d + statistics,) in update units; the ledger knows of it first."""
        self.ledger.spend(self.plan.release, run=self.run_id, dataset=self.dataset, round=server_round)
        noise = SecureGaussian() if self.plan.is_private else None
        std_steps = self.grid.noise_std_steps(self.plan.noise_multiplier)
        to_mean = self.grid.step / self.plan.cohort
        mean = torch.empty(total.integers.shape, dtype=torch.float32)
        for start in range(0, mean.numel(), BLOCK):
            block = total.integers[start : start + BLOCK].to(torch.int64)
            if noise is not None:
                noise.add_rounded_(block.numpy(), std_steps)
            mean[start : start + BLOCK] = block.to(torch.float64) * to_mean
        return mean
