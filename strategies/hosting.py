"""Whom a round's messages are for: each for a node, or, where hosts hold the nodes, for several nodes of one.

`wire.hosting` has the messages to hosts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from flwr.app import ArrayRecord, Message

from wire.hosting import MOST_SPEAKERS, HostAnswer, HostTask, hosted_by
from wire.messages import Answer, Task

Nodes = tuple[int, ...]


class Addressing(Protocol):
    """How the tasks of nodes become messages, and what a reply to one has."""

    def messages(
        self, tasks: Mapping[int, Task], arrays: ArrayRecord, ttl_seconds: float
    ) -> Iterator[tuple[Nodes, Message]]:
        """The messages with the tasks, and the nodes that each is for; all of them share `arrays`."""

    def read(self, reply: Message, nodes: Nodes) -> tuple[Answer, Mapping[int, str]]:
        """The answer in a reply, and the reasons of those of `nodes` that have no part in it.

        Raises:
            ReplyRejected: With the reason, if it is no answer.
        """

    def present(self, connected: Iterable[int]) -> set[int]:
        """The nodes that are there if these SuperNodes are connected."""


class OneEach:
    """Each node is a SuperNode, and has a message of its own."""

    def messages(
        self, tasks: Mapping[int, Task], arrays: ArrayRecord, ttl_seconds: float
    ) -> Iterator[tuple[Nodes, Message]]:
        """See `Addressing`."""
        for node, task in tasks.items():
            yield (node,), task.to_message(node, arrays, ttl_seconds)

    def read(self, reply: Message, nodes: Nodes) -> tuple[Answer, Mapping[int, str]]:
        """See `Addressing`."""
        return Answer.from_message(reply), {}

    def present(self, connected: Iterable[int]) -> set[int]:
        """See `Addressing`."""
        return set(connected)


@dataclass(frozen=True, kw_only=True)
class Hosted:
    """Each node is held by one of some SuperNodes, in a simulation.

    Args:
        hosts: The SuperNode of each part that is there.
        parts: The number of parts.
        nodes: The number of nodes of the run.

    Example:
        >>> hosted = Hosted(hosts={0: 77, 1: 55}, parts=2, nodes=5)
        >>> hosted.present([55])
        {1, 3}
    """

    hosts: Mapping[int, int]
    parts: int
    nodes: int

    def messages(
        self, tasks: Mapping[int, Task], arrays: ArrayRecord, ttl_seconds: float
    ) -> Iterator[tuple[Nodes, Message]]:
        """See `Addressing`. A message has `MOST_SPEAKERS` drawn speakers at most, or one node."""
        of_part: dict[int, dict[int, Task]] = {}
        for node, task in tasks.items():
            of_part.setdefault(node % self.parts, {})[node] = task
        for part, of_host in of_part.items():
            for some in _in_pieces(of_host):
                yield tuple(some), HostTask(tasks=some).to_message(self.hosts[part], arrays, ttl_seconds)

    def read(self, reply: Message, nodes: Nodes) -> tuple[Answer, Mapping[int, str]]:
        """See `Addressing`."""
        hosted = HostAnswer.from_message(reply, nodes)
        return hosted.answer, hosted.problems

    def present(self, connected: Iterable[int]) -> set[int]:
        """See `Addressing`."""
        here = set(connected)
        parts = (part for part, host in self.hosts.items() if host in here)
        return {node for part in parts for node in hosted_by(part, self.parts, self.nodes)}


def _in_pieces(tasks: Mapping[int, Task]) -> Iterator[dict[int, Task]]:
    piece: dict[int, Task] = {}
    speakers = 0
    for node, task in tasks.items():
        if piece and speakers + len(task.speakers) > MOST_SPEAKERS:
            yield piece
            piece, speakers = {}, 0
        piece[node] = task
        speakers += len(task.speakers)
    yield piece
