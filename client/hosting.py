"""The answers of a host: a SuperNode of a simulation that holds many nodes (`wire.hosting`).

Guarantee: each node answers for itself. Its speakers, its limits, its counts and its sum are those of a
SuperNode of its own, to the bit; what leaves is the sum of the nodes' sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any

from flwr.app import Context, Message, RecordDict
from torch import Tensor

from client.node import Node
from client.node_speech import PART_OF_THE_RUNS, is_simulated
from client.registration import called, register
from client.state.registered_speakers import RECORD
from client.training.speaker_round import SpeakerRound
from recipes import ConfigError, RunConfig
from wire.hosting import HostAnswer, HostTask, hosted_by, pack_infos
from wire.messages import MODEL, Answer, Task, problem
from wire.node_answers import NodeSum

InWords = Callable[[Exception, Context], str]
"""What the server is told of an error of a node."""


def hosts_nodes(config: RunConfig, node_config: Mapping[str, Any]) -> bool:
    """Whether a SuperNode of this configuration holds nodes of a simulation.

    Raises:
        ConfigError: If a run asks that of a SuperNode with speech of its own.
    """
    if not config.training.hosted_nodes:
        return False
    if not is_simulated(node_config):
        raise ConfigError(
            f"training.hosted-nodes = {config.training.hosted_nodes}: only SuperNodes of a simulation hold "
            "many nodes, and this one has speech of its own; set it to 0"
        )
    return True


def query(config: RunConfig, context: Context, asked: Mapping[str, object]) -> RecordDict:
    """Report what each of the host's nodes has.

    Raises:
        ConfigError: If one of them cannot take part.
    """
    host = _Host(config, context)
    infos = {}
    for number in hosted_by(host.part, host.parts, config.training.hosted_nodes):
        with host.context_of(number) as own:
            infos[number] = register(host.node(number), own, asked)
    if not infos:
        raise ConfigError(
            f"training.hosted-nodes = {config.training.hosted_nodes}: fewer than the {host.parts} SuperNodes "
            "that hold them; give --hosts at most that"
        )
    return pack_infos(infos, host.part, host.parts)


def train(config: RunConfig, message: Message, context: Context, in_words: InWords) -> RecordDict:
    """Return one sum over the nodes that a message has tasks for.

    A node that cannot train is left out of the sum, and the answer says why. If the training of one fails
    after that, no node of the message has an answer.

    Args:
        config: The run's settings.
        message: The message.
        context: The host's context.
        in_words: What the server is told if a node cannot answer.
    """
    hosted, together, vector = HostTask.from_message(message)
    del message.content[MODEL]  # Flower keeps the message until it is answered
    host = _Host(config, context)
    asked = _Asked(host, hosted.tasks, vector, in_words)
    del vector
    total = NodeSum(together, host.first.rules.layout)
    raw = host.first.add(asked.rounds(), together, total)
    if not asked.speakers:
        return problem(next(iter(asked.problems.values())))
    answered = replace(together, speakers=tuple(asked.speakers))
    answer = Answer.of(answered, total.integers, raw, asked.dataset or together.dataset)
    return HostAnswer(answer=answer, problems=asked.problems).to_record()


class _Asked:
    """The nodes of a message.

    Attributes:
        speakers: The drawn speakers of the nodes that train, by number.
        problems: Why each of the others does not.
        dataset: The digest of another corpus than that of the task, if one of them has another; else "".
    """

    def __init__(self, host: _Host, tasks: Mapping[int, Task], vector: Tensor, in_words: InWords) -> None:
        self._host, self._tasks, self._in_words = host, tasks, in_words
        self._vector: Tensor | None = vector
        self.speakers: list[int] = []
        self.problems: dict[int, str] = {}
        self.dataset = ""

    def rounds(self) -> Iterator[SpeakerRound]:
        """The rounds of their speakers, node by node; each node checks its task when its turn comes."""
        for number, task in self._tasks.items():
            with self._host.context_of(number) as own:
                try:
                    node = self._host.node(number)
                    self._load(node, task)
                    rounds = node.rounds(task, called(node, own, task))
                except Exception as error:  # each node answers for itself
                    self.problems[number] = self._in_words(error, own)
                    continue
            self.speakers += task.speakers
            if task.dataset and node.dataset != task.dataset:
                self.dataset = node.dataset
            yield from rounds

    def _load(self, node: Node, task: Task) -> None:
        """As `Node.load`; the model is that of all tasks of a message, and is copied once."""
        if self._vector is None:
            node.rules.require(task)
        else:
            node.load(task, self._vector)
            self._vector = None


class _Host:
    """A host's nodes, and their contexts within its own."""

    def __init__(self, config: RunConfig, context: Context) -> None:
        self._config, self._context = config, context
        self.part, self.parts = (int(context.node_config[name]) for name in PART_OF_THE_RUNS)
        self._nodes = config.training.hosted_nodes

    @cached_property
    def first(self) -> Node:
        """The first of its nodes.

        Raises:
            ConfigError: If no node of this configuration can take part.
        """
        return Node.of(self._config, self._node_config(self.part))

    def node(self, number: int) -> Node:
        """The node of this number.

        Raises:
            ConfigError: If another host holds it, or none: its speakers could count twice.
        """
        if number not in hosted_by(self.part, self.parts, self._nodes):
            raise ConfigError(
                f"node {number} of {self._nodes} is not one of those of host {self.part} of {self.parts}: "
                "its speakers would count twice"
            )
        return self.first.of_part(number)

    @contextmanager
    def context_of(self, number: int) -> Iterator[Context]:
        """The context of a node; the host's keeps what it registers in it."""
        kept = self._context.state.get(key := f"{RECORD} {number}")
        state = RecordDict({} if kept is None else {RECORD: kept})
        yield replace(self._context, node_id=number, node_config=self._node_config(number), state=state)
        if RECORD in state:
            self._context.state[key] = state[RECORD]

    def _node_config(self, number: int) -> dict[str, Any]:
        own = dict(zip(PART_OF_THE_RUNS, (number, self._nodes), strict=True))
        return {**self._context.node_config, **own}
