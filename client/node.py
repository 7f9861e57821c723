"""A node: a place with speakers. It trains those that the server draws, and returns one clipped sum.

`client.node_speech` has the speech that is the node's, `client.node_speakers` its speakers,
`client.policy.task_rules` what the node checks, and `client.training.process` the process that reads the
speech.

Guarantee: a speaker who has left (`client.state.departures`, in the folder `node-state="/path"`) is not
trained: the node looks at the record for every message, and again before every speaker.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from flwr.app import RecordDict
from torch import Tensor

from client.corpora import corpus_of
from client.learner import Learner
from client.node_speakers import NodeSpeakers
from client.node_speech import PART_OF_THE_RUNS, NodeSpeech, is_simulated, part_of_the_runs
from client.policy.limits import NodePolicy
from client.policy.task_rules import TaskRules, require_known
from client.policy.training_counts import TrainingCounts
from client.speaker_processes import forget_departed, is_kept, process_of
from client.state.departures import Departures
from client.state.node_state import node_state, node_state_path
from client.training.algorithms import Exchange, local_algorithm
from client.training.process import SpeakerProcess
from client.training.speaker_round import SpeakerRound
from recipes import ConfigError, RunConfig
from wire.messages import Task
from wire.node_answers import NodeSum
from wire.raw_metrics import RawMetrics

# A process trains one speaker at a time; two OpenMP threads on a busy machine are many times slower.
torch.set_num_threads(1)


class Node:
    """The speakers of one node, the rules for them, and the process that trains them.

    Attributes:
        held: The node's speakers, with and without those who have left.
        rules: What the node checks before it trains.
    """

    def __init__(
        self, held: NodeSpeakers, rules: TaskRules, learner: Learner, process: SpeakerProcess
    ) -> None:
        self.held, self.rules = held, rules
        self._learner, self._process = learner, process

    @classmethod
    def of(cls, config: RunConfig, node_config: Mapping[str, Any]) -> Node:
        """The node of this configuration. Its corpus and its process stay for later messages."""
        speech = NodeSpeech.of(config.corpus, node_config)
        policy = NodePolicy.for_run(config, speech, node_config)
        departures = Departures(node_state_path(node_config))
        learner = Learner.of(
            config, speech, str(node_config.get("seed-path", "")), str(node_config.get("base-model", ""))
        )
        corpus = corpus_of(speech.corpus)
        forget_departed(departures, corpus, learner)
        layout, process = process_of(learner)
        rules = TaskRules(
            config=config,
            policy=policy,
            simulated=speech.simulated,
            layout=layout,
            frozen=process.ready.frozen,
            counts=TrainingCounts(node_state(node_config)) if speech.has_real_speakers else None,
        )
        return cls(NodeSpeakers(speech, corpus, departures), rules, learner, process)

    @classmethod
    def for_message(cls, config: RunConfig, node_config: Mapping[str, Any]) -> Node:
        """As `of`, for each message to a node: what the nodes of a simulation share is made once."""
        if not is_simulated(node_config):
            return cls.of(config, node_config)
        index, _ = part_of_the_runs(node_config)
        others = {
            name: (type(value), value) for name, value in node_config.items() if name != PART_OF_THE_RUNS[0]
        }
        last = _last
        if last is None or last.config is not config or last.others != others or not last.node.kept:
            _remember(last := _Last(config, others, cls.of(config, node_config)))
        last.node.forget_departed()
        return last.node.of_part(index)

    @property
    def kept(self) -> bool:
        """Whether the node's process is still among those that are kept for the next message."""
        return is_kept(self._process)

    def forget_departed(self) -> None:
        """Drop what is kept of speakers who left since the last call."""
        forget_departed(self.held.departures, self.held.corpus, self._learner)

    def of_part(self, index: int) -> Node:
        """The node that holds another part of the same split; all but the speakers is that of this node."""
        held = self.held
        speech = replace(held.speech, index=index)
        speakers = NodeSpeakers(speech, held.corpus, held.departures)
        return Node(speakers, self.rules, self._learner, self._process)

    @property
    def speakers(self) -> Sequence[str]:
        """The node's speakers without those who have left."""
        return self.held.present

    @property
    def dataset(self) -> str:
        """The digest of the node's corpus."""
        return self.held.corpus.digest

    @property
    def simulated(self) -> bool:
        """Whether the node is a part of a simulation."""
        return self.rules.simulated

    def require_time(self) -> None:
        """Raise `ConfigError` if the budget is too small here for a speaker with the maximum of speech.

        All such speakers would count as zero. Checked at registration only: a machine that has become slower
        must not end a node's part during a run.
        """
        local, needed = self._learner.local, self._process.ready.longest_seconds
        allowed, seconds = local.processor_seconds, local.most_of_a_speaker["seconds"]
        if needed > allowed:
            raise ConfigError(
                f"local.processor-seconds = {allowed:g}: the training of a speaker with local.most-seconds = "
                f"{local.most_seconds:g} of speech takes about {needed:.1f} processor seconds here, and such "
                f"speakers would count as zero; set it to {math.ceil(3 * needed)}, or local.most-seconds to "
                f"{max(1, int(seconds * allowed / needed / 3))}"
            )

    def load(self, task: Task, vector: Tensor) -> None:
        """Check `task` and copy its model (d,) to the speaker process.

        Raises:
            ConfigError: If the task breaks a rule of this node (`TaskRules.require`).
            ValueError: If the task is for another model.
        """
        self.rules.require(task)
        self._process.load(vector)

    def exchange(self, content: RecordDict, state: RecordDict, speakers: Sequence[str]) -> Exchange | None:
        """What the run's algorithm keeps and sends beside the update; None for one that declares nothing.

        In a private run it is always None: such a run refuses the other algorithms (`recipes.run_config`).
        """
        algorithm = local_algorithm(self._learner.local)
        if not algorithm.beside_the_update:
            return None
        return algorithm.exchange(self._process, content, state, speakers, self.held.departed(speakers))

    def train(
        self, task: Task, speakers: Sequence[str], total: NodeSum, exchange: Exchange | None = None
    ) -> RawMetrics | None:
        """Train each drawn speaker from the loaded model; clip, quantise and add the updates.

        Args:
            task: The round's task, which was loaded.
            speakers: The speakers by the task's numbers (`client.state.registered_speakers`).
            total: Takes the updates, with the bounds and the quantiser of the task.
            exchange: The local algorithm's exchange, if it has one.

        Returns:
            Un-noised metrics if the task asks for them.

        Guarantee: the sum adds up the speakers' own parts. Each part follows from the speaker, the round
        and the run alone, to the bit, and is within the bound of each slice. A speaker counts as the zero
        vector who was trained too often (`most-rounds-per-speaker`), or whose training fails, dies or passes
        its budget. So does an update with a number that is not finite (its statistics, bounded as all others,
        are still added). A speaker who has left counts as zero, and nothing of theirs is read.

        Raises:
            ValueError: If the task draws a speaker that this node does not have, or one of them twice.
            DepartureError: If the record of departures cannot be read.
        """
        return self.add(self.rounds(task, speakers), task, total, exchange)

    def rounds(self, task: Task, speakers: Sequence[str]) -> Iterator[SpeakerRound]:
        """The rounds of the drawn speakers, once it is checked and counted that they may be trained.

        Each is given if its speaker has not left by then.

        Args:
            task: The round's task.
            speakers: The speakers by the task's numbers.

        Raises:
            ValueError: If the task draws a speaker that this node does not have, or one of them twice.
        """
        require_known(task, speakers)
        over = self.rules.over_limit(task, speakers)
        drawn = [speakers[number] for number in task.speakers]
        return (
            SpeakerRound(run=task.run, round_number=task.round_number, speaker=name)
            for name in drawn
            if name not in over and self.held.departures.of(name) is None
        )

    def add(
        self,
        speaker_rounds: Iterable[SpeakerRound],
        task: Task,
        total: NodeSum,
        exchange: Exchange | None = None,
    ) -> RawMetrics | None:
        """As `train`, for rounds of this node, or of others with the same process."""
        raw, split = RawMetrics() if task.raw_metrics else None, self.held.speech.split
        if exchange is None:
            results = self._process.train_each(speaker_rounds, split)
        else:
            results = (exchange.train(one, split) for one in speaker_rounds)
        for trained in results:
            if trained is not None:
                update, report = trained
                norms = self.rules.layout.norms(update[: self.rules.layout.size]) if raw is not None else []
                clipped = total.add(update[: task.bounds.size], report.loss)
                if raw is not None:
                    raw.add(train_loss=report.loss, clipped_share=clipped, update_norms=norms)
        self.forget_departed()
        return raw


@dataclass(frozen=True)
class _Last:
    """The node of the last message from a simulation, and what it was made of."""

    config: RunConfig
    others: Mapping[str, tuple[type, Any]]  # of the node's configuration: all but its part, 1 is not True
    node: Node


_last: _Last | None = None


def _remember(last: _Last) -> None:
    global _last
    _last = last
