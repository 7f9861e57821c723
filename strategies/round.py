"""A round from its messages to its report: the tasks, the replies, and the figures for the operator."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from flwr.app import Message, Metadata

from base.printable_text import one_line
from privacy import ReplyRejected
from privacy.group_statistics import ReleasedGroup
from strategies.aggregation import CohortSum, DroppedNode
from strategies.hosting import Addressing, Nodes, OneEach
from strategies.streaming import NOT_SENT
from wire.messages import NodeFailed, Task
from wire.raw_metrics import RawMetrics
from wire.traffic import Traffic, array_bytes

LATE = "no reply before the deadline"
NO_TURN = "it was not asked: the nodes before it took all the time until the deadline"


@dataclass(frozen=True, kw_only=True)
class RoundReport:
    """The server's own record of a round, with the statistics from the noised release.

    Do not publish which speakers, or how many, were drawn, asked and answered: amplification by sampling
    depends on their secrecy. `clip_bound` is C of this round, which moves if the bounds adapt. `groups` has
    what the releases say of groups of layers, if anything.

    Example:
        >>> from wire.traffic import Traffic
        >>> report = RoundReport(
        ...     round_number=1, drawn=3, nodes_asked=2, nodes_answered=1, learning_rate=0.1, statistics={},
        ...     dropped=(DroppedNode(7, LATE),), traffic=(Traffic(node=5, bytes_down=400, bytes_up=90),),
        ... )
        >>> report.bytes_down, report.dropped[0].reason
        (400, 'no reply before the deadline')
    """

    round_number: int
    drawn: int
    nodes_asked: int
    nodes_answered: int
    learning_rate: float
    statistics: dict[str, float]
    dropped: tuple[DroppedNode, ...]
    groups: tuple[ReleasedGroup, ...] = ()
    clip_bound: float = math.nan
    traffic: tuple[Traffic, ...] = ()  # by SuperNode

    @property
    def bytes_down(self) -> int:
        """Bytes of the arrays that were sent to all nodes."""
        return sum(one.bytes_down for one in self.traffic)

    @property
    def bytes_up(self) -> int:
        """Bytes of the arrays in all accepted answers."""
        return sum(one.bytes_up for one in self.traffic)


@dataclass(frozen=True)
class Asked:
    """The metadata of a message, and the nodes that it has tasks for."""

    envelope: Metadata
    nodes: Nodes


class Addressees:
    """Finds the message that a reply answers, by its id.

    Flower gives a message its id when it is pushed. A grid with a window pushes most messages of a round
    after the first replies, so an id is looked up when a reply names it. If messages are pushed in their
    order, each is looked at once, and those of a whole round are found in linear time.
    """

    def __init__(self, asked: Iterable[Asked]) -> None:
        self._unfiled = deque(asked)
        self._filed: dict[str, Asked] = {}

    def find(self, message_id: str) -> Asked | None:
        """The message of this id; None if it is not of this round."""
        while self._unfiled and self._unfiled[0].envelope.message_id:
            self._file(self._unfiled.popleft())
        if message_id not in self._filed:  # it may have been pushed out of order
            for asked in self._unfiled:
                if asked.envelope.message_id:
                    self._file(asked)
        return self._filed.get(message_id)

    def not_asked(self) -> set[int]:
        """Nodes with a message that was never pushed."""
        return {one for asked in self._unfiled if not asked.envelope.message_id for one in asked.nodes}

    def _file(self, asked: Asked) -> None:
        self._filed[asked.envelope.message_id] = asked


@dataclass(kw_only=True)
class OpenRound:
    """A round that waits for its replies.

    It keeps the metadata of the messages only: the messages themselves, and the model in them, are released
    when they are sent.

    Args:
        number: The round, from 1.
        drawn: The number of drawn speakers.
        tasks: The task of each node.
        asked: The messages that carry the tasks.
        addressing: What made these messages.
        bytes_down: Bytes of the arrays in each message.
        tensors: How many tensors are trained: as many norms a node may send.
        on_raw_metrics: Called with (round, SuperNode, metrics) for each SuperNode that sends un-noised
            metrics, once, when all replies are taken: a host may send several.
        changed: Nodes that answered and hold other data than at registration.
        on_taken: Called with each reply that was added.
    """

    number: int
    drawn: int
    tasks: dict[int, Task]
    asked: Sequence[Asked]
    bytes_down: int
    addressing: Addressing = field(default_factory=OneEach)
    tensors: int = 0
    on_raw_metrics: Callable[[int, int, RawMetrics], None] | None = None
    changed: set[int] = field(default_factory=set)
    on_taken: Callable[[Message], None] | None = None
    _bytes_up: dict[int, int] = field(default_factory=dict)
    _raw: dict[int, RawMetrics] = field(default_factory=dict)
    _not_sent: set[int] = field(default_factory=set)

    def collect(self, total: CohortSum, replies: Iterable[Message]) -> list[DroppedNode]:
        """Add each valid reply to `total` as it arrives; return the nodes that gave nothing, with reasons."""
        addressees = Addressees(self.asked)
        dropped = []
        for reply in replies:
            asked = addressees.find(reply.metadata.reply_to_message_id)
            try:
                problems = self._take(asked, reply, total)
            except ReplyRejected as rejection:
                refused, reason = not isinstance(rejection, NodeFailed), one_line(str(rejection))
                who = asked.nodes if asked else (reply.metadata.src_node_id,)
                dropped += [DroppedNode(node, reason, refused) for node in who]
            else:
                dropped += [DroppedNode(node, one_line(reason)) for node, reason in problems.items()]
            del reply  # or it would stay in memory beside the next
        if self.on_raw_metrics:
            for sender, raw in self._raw.items():
                self.on_raw_metrics(self.number, sender, raw)
        not_asked = addressees.not_asked()
        self._not_sent |= not_asked
        silent = sorted(set(total.silent_nodes()) - {drop.node for drop in dropped})
        return dropped + [DroppedNode(node, NO_TURN if node in not_asked else LATE) for node in silent]

    def traffic(self) -> tuple[Traffic, ...]:
        """The bytes to and from each SuperNode that was sent a task."""
        down: dict[int, int] = {}
        for asked in self.asked:
            if not self._not_sent.issuperset(asked.nodes):
                node = asked.envelope.dst_node_id
                down[node] = down.get(node, 0) + self.bytes_down
        return tuple(
            Traffic(node=node, bytes_down=sent, bytes_up=self._bytes_up.get(node, 0))
            for node, sent in down.items()
        )

    def _take(self, asked: Asked | None, reply: Message, total: CohortSum) -> Mapping[int, str]:
        """Add a reply's sum; return the reasons of those of its nodes that have no part in it."""
        if asked is None:
            raise ReplyRejected("it answers no message of this round")
        if reply.has_error() and reply.error.code == NOT_SENT:
            self._not_sent.update(asked.nodes)
        answer, problems = self.addressing.read(reply, asked.nodes)
        if answer.raw and len(answer.raw.update_norms) not in (0, self.tensors):
            raise ReplyRejected(
                f"it sends {len(answer.raw.update_norms)} norms of an update of {self.tensors} tensors"
            )
        answered = [node for node in asked.nodes if node not in problems]
        total.add_together(answered, answer)
        if self.on_taken:
            self.on_taken(reply)
        sender = asked.envelope.dst_node_id
        self._bytes_up[sender] = self._bytes_up.get(sender, 0) + array_bytes(reply.content)
        if answer.dataset != self.tasks[asked.nodes[0]].dataset:
            self.changed.update(answered)
        if answer.raw:
            self._raw.setdefault(sender, RawMetrics()).merge(answer.raw)
        return problems
