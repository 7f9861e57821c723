"""Whole rounds of DP-FedOpt with one honest node beside hostile ones, and what must hold after each.

The reference is computed here with Python's and numpy's whole numbers: which replies were added, their exact
sum, and from it, with repeatable noise, the model that must come out.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from flwr.app import Message

from privacy import ClipBounds, LayerLayout, Ledger, PrivacyPlan, Quantiser, unpack
from privacy.kernels import scale_into_
from privacy.noise.factory import make_noise
from privacy.noise.seeded import SeededGaussian
from privacy.released_metrics import STATISTICS
from strategies import (
    DPFedOpt,
    GlobalModel,
    Mechanism,
    PopulationIndex,
    ServerStep,
    StreamingGrid,
    TrainingRun,
)
from tests.fuzz.replies import Mutant
from tests.strategies.federation import PlainStep
from tests.strategies.flower import FakeGrid
from wire.messages import Answer, Task
from wire.raw_metrics import RawMetrics

HONEST = 1
SLACK = Fraction(1_000_000_001, 1_000_000_000)  # of the product's comparison in float64


class Federation:
    """A strategy whose every node is drawn in every round, with its noise repeatable and its sum on show.

    `counts` are the speakers by node; node 1 is the honest one.
    """

    def __init__(
        self,
        folder: Path,
        shapes: Sequence[tuple[str, tuple[int, ...]]],
        counts: dict[int, int],
        raw_metrics: bool = False,
    ) -> None:
        self.layout = LayerLayout.of(list(shapes))
        self.bounds = ClipBounds.of("dim", 1.0, self.layout, statistics=len(STATISTICS))
        self.quantiser = Quantiser.of(self.bounds, bits=20)
        population_index = PopulationIndex.of(counts, dict.fromkeys(counts, "speech"))
        self.plan = PrivacyPlan(
            population=population_index.population,
            cohort=float(population_index.population),
            rounds=10**9,
            noise_multiplier=0.8,
            delta=1e-6,
        )
        self.strategy = DPFedOpt(
            model=GlobalModel(vector=torch.zeros(self.layout.size), layout=self.layout),
            mechanism=Mechanism(plan=self.plan, bounds=self.bounds, quantiser=self.quantiser),
            server_step=ServerStep(optimiser=PlainStep(), learning_rate=1.0),
            run=TrainingRun(
                population_index=population_index,
                ledger=Ledger.open(folder / "ledger.jsonl"),
                dataset="people",
                run_id="fuzz",
            ),
            on_raw_metrics=self._tell if raw_metrics else None,
        )
        self.strategy._source = self._source  # type: ignore[method-assign]
        self.nodes = [node for node in counts if node != HONEST]
        self.round = 0

    def _tell(self, round_number: int, node: int, raw: RawMetrics) -> None:
        """What the server writes of un-noised metrics."""
        json.dumps(raw.as_line(round_number, node))

    def _source(self, server_round: int) -> SeededGaussian:
        return SeededGaussian(15, server_round)

    def released(self, total: torch.Tensor) -> torch.Tensor:
        """The model (d,) that a round with this exact sum must leave, from zeros: minus the noised mean."""
        noise, mean = make_noise(self.plan, "isotropic"), torch.zeros(self.bounds.size)
        z, step = self.plan.noise_multiplier, self.quantiser.step
        for begin, end, block in noise.noised_blocks(
            total, self.bounds, self.quantiser, z, self._source(self.round)
        ):
            scale_into_(mean[begin:end].numpy(), block, step / self.plan.cohort)
        return -mean[: self.layout.size]


@dataclass
class Played:
    """What a round was given and what it took."""

    asked: dict[int, Task]
    taken: dict[int, Message]
    honest: torch.Tensor
    spent_before: int


def play(federation: Federation, mutants: Sequence[Mutant], streamed: bool) -> tuple[Played, Counter[str]]:
    """One round: the honest reply in the middle of the mutated ones. Raises what the round raises."""
    strategy = federation.strategy
    strategy.vector.zero_()
    federation.round += 1
    replies: dict[int, list[Message]] = {}
    spent = len(strategy.ledger._entries)
    played = Played(asked={}, taken={}, honest=torch.zeros(0), spent_before=spent)
    made = dict(zip(federation.nodes, mutants, strict=False))

    def answer(message: Message) -> None:
        node = message.metadata.dst_node_id
        task, _ = Task.from_message(message)
        played.asked[node] = task
        if node == HONEST:
            played.honest = _honest(task)
            answer = Answer.of(task, played.honest).to_record()
            replies[node] = [Message(answer, reply_to=message)]
        elif node in made:
            replies[node], _ = made[node].messages(task, message)

    grid = _Grid(dict.fromkeys(played.asked, answer), answer, replies)
    messages = strategy.configure_train(federation.round, strategy.arrays(), None, grid)
    strategy._round.on_taken = lambda reply: played.taken.update({_by(grid, reply): reply})
    came = StreamingGrid(grid).send_and_receive(messages, timeout=0.2) if streamed else grid.all(messages)
    strategy.finish_round(federation.round, came)
    counts = Counter(replies=len(mutants), added=len(played.taken.keys() - {HONEST}), rounds=1)
    return played, counts


class _Grid(FakeGrid):
    """Hands over whatever the nodes made, however often and whomever it names."""

    def __init__(self, nodes, answer, replies) -> None:
        super().__init__(nodes)
        self._answer, self._replies = answer, replies
        self.sent: dict[str, int] = {}

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        ids = []
        for message in messages:
            message_id = f"{len(self.sent)}-{message.metadata.dst_node_id}"
            message.metadata.__dict__["_message_id"] = message_id
            self.sent[message_id] = message.metadata.dst_node_id
            self._answer(message)
            ids.append(message_id)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return [reply for one in message_ids for reply in self._replies.pop(self.sent[one], [])]

    def all(self, messages: Iterable[Message]) -> list[Message]:
        """Every reply, in the order of the nodes, past the checks of the streaming grid."""
        return self.pull_messages(self.push_messages(messages))


def _by(quantiser: _Grid, reply: Message) -> int:
    return quantiser.sent[reply.metadata.reply_to_message_id]


def _honest(task: Task) -> torch.Tensor:
    """An honest sum (task.bounds.size,): well within its bounds, and not zero."""
    total = torch.zeros(task.bounds.size, dtype=torch.int64)
    for number, (begin, bound) in enumerate(zip(task.bounds.offsets, task.bounds.bounds, strict=False)):
        if begin < task.bounds.offsets[number + 1]:
            total[begin] = int(len(task.speakers) * bound / task.quantiser.step / 2)
    return total


def check(federation: Federation, played: Played) -> None:
    """What must hold after every round, whatever came."""
    strategy, report = federation.strategy, federation.strategy.last_report
    assert report is not None
    left_out = {drop.node: drop.reason for drop in report.dropped}
    assert HONEST in played.taken
    assert set(played.asked) - set(played.taken) <= set(left_out)  # by name
    assert all(len(reason) < 500 and reason.isprintable() for reason in left_out.values())
    total = played.honest.clone()
    for node, reply in played.taken.items():
        if node != HONEST:
            total += _held_exactly(federation, played.asked[node], reply)
    assert torch.equal(strategy.vector, federation.released(_as_summed(federation, total)))
    assert report.nodes_answered == len(played.taken)
    assert report.nodes_asked == len(played.asked)
    assert len(strategy.ledger._entries) == played.spent_before + 1
    assert strategy.ledger._entries[-1].release == federation.plan.release


def _held_exactly(federation: Federation, task: Task, reply: Message) -> torch.Tensor:
    """The sum (size,) int64 of a reply that was taken, every slice within count times its bound."""
    answer = Answer.from_message(reply)
    bounds, quantiser, count = federation.bounds, federation.quantiser, len(task.speakers)
    assert (answer.round_number, answer.nonce, answer.layout) == (task.round_number, task.nonce, task.layout)
    assert answer.count == count
    numbers = unpack(answer.packed, count, bounds, quantiser).to(torch.int64)
    for begin, end, bound in zip(bounds.offsets, bounds.offsets[1:], bounds.bounds, strict=False):
        squared = sum(value * value for value in map(int, np.trim_zeros(numbers[begin:end].numpy())))
        assert squared <= (count * Fraction(bound) / Fraction(quantiser.step)) ** 2 * SLACK
    return numbers


def _as_summed(federation: Federation, total: torch.Tensor) -> torch.Tensor:
    """In the type in which the round sums."""
    drawn = federation.plan.population
    return total.to(torch.int32 if drawn * 2**federation.quantiser.bits < 2**31 else torch.int64)
