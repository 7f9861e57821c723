"""A round from its messages to its report: who was asked what, what came back, and what may be told of it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from flwr.app import Message, Metadata

from base.printable_text import one_line
from privacy import ReplyRejected
from strategies.aggregation import CohortSum, Dropped
from strategies.streaming import NOT_SENT
from wire.messages import Answer, NodeFailed, Task
from wire.raw_metrics import RawMetrics
from wire.traffic import Traffic, array_bytes

LATE = "no reply before the deadline"
NO_TURN = "it was not asked: the nodes before it took all the time until the deadline"


@dataclass(frozen=True, kw_only=True)
class RoundReport:
    """What the server knows of a round, and the statistics from inside the noised release.

    Who and how many were drawn, asked and answered is not for publication: sampling gains by its secrecy.
    """

    round_number: int
    drawn: int
    nodes_asked: int
    nodes_answered: int
    learning_rate: float
    statistics: dict[str, float]
    dropped: tuple[Dropped, ...]
    clip_bound: float = math.nan  # C of this round; it moves where bounds adapt
    traffic: tuple[Traffic, ...] = ()  # by node

    @property
    def bytes_down(self) -> int:
        """Bytes of the arrays sent to all nodes."""
        return sum(one.bytes_down for one in self.traffic)

    @property
    def bytes_up(self) -> int:
        """Bytes of the arrays of all answers that were taken."""
        return sum(one.bytes_up for one in self.traffic)


class Addressees:
    """Which node a reply comes from, by the id of the message that it answers.

    Flower gives a message its id when it is pushed. A grid that has a few under way at a time pushes most
    of a round's after the first replies, so an id is looked up when a reply names it. Messages are pushed in
    their order: each is then looked at once, and finding all nodes of a round takes time linear in them.
    """

    def __init__(self, envelopes: Iterable[Metadata]) -> None:
        self._unfiled = deque(envelopes)
        self._nodes: dict[str, int] = {}

    def node(self, message_id: str) -> int | None:
        """The node that was sent this message; None if it is none of this round's."""
        while self._unfiled and self._unfiled[0].message_id:
            self._file(self._unfiled.popleft())
        if message_id not in self._nodes:  # it may have been pushed out of turn
            for envelope in self._unfiled:
                if envelope.message_id:
                    self._file(envelope)
        return self._nodes.get(message_id)

    def not_asked(self) -> set[int]:
        """Nodes whose message was never pushed."""
        return {envelope.dst_node_id for envelope in self._unfiled if not envelope.message_id}

    def _file(self, envelope: Metadata) -> None:
        self._nodes[envelope.message_id] = envelope.dst_node_id


@dataclass(kw_only=True)
class OpenRound:
    """A round under way: `tasks` by node, and the `envelopes` (metadata) of the messages that carry them.

    The messages themselves, and the model in them, may go when they are sent; `bytes_down` is of each.
    `changed` are the nodes that answered and no longer hold what they held at the roll call. `on_taken` is
    called with each reply that was added.
    """

    number: int
    drawn: int
    tasks: dict[int, Task]
    envelopes: list[Metadata]
    bytes_down: int
    on_raw_metrics: Callable[[int, int, RawMetrics], None] | None = None
    changed: set[int] = field(default_factory=set)
    on_taken: Callable[[Message], None] | None = None
    _bytes_up: dict[int, int] = field(default_factory=dict)
    _not_sent: set[int] = field(default_factory=set)

    def collect(self, total: CohortSum, replies: Iterable[Message]) -> list[Dropped]:
        """Add each reply to `total` as it comes, if it can be added; returns who gave nothing, and why."""
        addressees = Addressees(self.envelopes)
        dropped = []
        for reply in replies:
            node = addressees.node(reply.metadata.reply_to_message_id)
            try:
                self._take(node, reply, total)
            except ReplyRejected as rejection:
                refused = not isinstance(rejection, NodeFailed)
                who = reply.metadata.src_node_id if node is None else node
                dropped.append(Dropped(who, one_line(str(rejection)), refused))
            del reply  # or it would be there beside the next
        not_asked = addressees.not_asked()
        self._not_sent |= not_asked
        silent = set(total.silent_nodes()) - {drop.node for drop in dropped}
        return [*dropped, *(Dropped(node, NO_TURN if node in not_asked else LATE) for node in sorted(silent))]

    def traffic(self) -> tuple[Traffic, ...]:
        """What went to each node that was asked, and came back."""
        return tuple(
            Traffic(node=node, bytes_down=self.bytes_down, bytes_up=self._bytes_up.get(node, 0))
            for node in self.tasks
            if node not in self._not_sent
        )

    def _take(self, node: int | None, reply: Message, total: CohortSum) -> None:
        if node is None:
            raise ReplyRejected("it answers no message of this round")
        if reply.has_error() and reply.error.code == NOT_SENT:
            self._not_sent.add(node)
        answer = Answer.from_message(reply)
        total.add(node, answer)
        if self.on_taken:
            self.on_taken(reply)
        self._bytes_up[node] = array_bytes(reply.content)
        if answer.dataset != self.tasks[node].dataset:
            self.changed.add(node)
        if self.on_raw_metrics and answer.raw:
            self.on_raw_metrics(self.number, node, answer.raw)
