"""What a run will take, said before anything starts: `murmur run --dry-run`.

Bytes and epsilon follow from the recipe. Seconds are measured here: some of the run's speakers are trained
from its seed model, as nodes do it, some held-out utterances evaluated, and vectors clipped, added and noised
(`cli.run.round_costs`). Nothing of this is kept, drawn or spent. Memory is what the pages in benchmarks/ have
for processes of this kind, and vectors of this model.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from base.counts import count_of
from cli.run.round_costs import RoundCosts, ValueCosts
from client.corpora import corpus_of
from client.learner import Learner
from client.node_speech import NodeSpeech
from client.training.speaker_round import SpeakerRound
from client.training.speaker_training import SpeakerTraining
from optim.flat_model import bind
from optim.trainable import freeze
from privacy import PrivacyPlan, epsilon_text
from privacy.sums.packing import packed_bytes
from recipes import ConfigError, RunConfig
from server.evaluation import EvaluationPlace, HeldOut
from server.factory import make_bounds, make_plan, starting_model
from speech.errors import AudioError
from speech.evaluation.evaluation import evaluate
from speech.model.recogniser import Recogniser
from speech.text import alphabet_of
from wire.hosting import MOST_SPEAKERS
from wire.messages import pack_vector

SPEAKERS, UTTERANCES = 8, 32  # that are measured, at most
START_SECONDS = 8.0  # until the first training step (benchmarks/start_up.md)
PROCESS_BYTES = {"server": 0.8e9, "worker": 1.2e9}  # of a small model (benchmarks/many_nodes.md)
VECTORS = {"server": 5, "worker": 4}  # sizes of the model beside that (benchmarks/memory.md)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Seconds of one speaker's local training, of one held-out utterance's evaluation, and of each value."""

    update: float
    utterance: float
    value: ValueCosts


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a run will take.

    Attributes:
        config: The run's settings.
        plan: Its privacy plan, for the population that the nodes will report.
        nodes: How many nodes are simulated.
        messages: How many messages with tasks a round has, as expected.
        workers: How many of them work at a time.
        measured: Seconds, as they are here.
        utterances: Held-out utterances.
        values: Length of the model's vector.
        model_bytes: Of the model in a task.
        sum_bytes: Of the sum in an answer over the usual number of speakers.
    """

    config: RunConfig
    plan: PrivacyPlan
    nodes: int
    messages: float
    workers: int
    measured: Measured
    utterances: int
    values: int
    model_bytes: int
    sum_bytes: int

    @property
    def contacted(self) -> float:
        """Nodes with a drawn speaker in a round, as expected."""
        return contacted(self.plan, self.nodes)

    @cached_property
    def round(self) -> RoundCosts:
        """What a round takes on this machine."""
        return RoundCosts(
            speakers=self.plan.cohort,
            nodes=self.messages,
            processors=self.workers,
            update=self.measured.update,
            values=self.values,
            value=self.measured.value,
            model_bytes=self.model_bytes,
            sum_bytes=self.sum_bytes,
        )

    @property
    def evaluations(self) -> float:
        """How often all held-out speech is evaluated; looks at a share of it count as that share."""
        training = self.config.training
        looks = training.rounds // training.evaluate_every + bool(training.rounds % training.evaluate_every)
        share = training.evaluate_share
        return 1 + looks * share + (share < 1)

    @property
    def evaluation_seconds(self) -> float:
        """Seconds of one evaluation of all held-out speech."""
        return self.utterances * self.measured.utterance

    @property
    def seconds(self) -> float:
        """Seconds of the whole run."""
        rounds = self.plan.rounds * self.round.seconds
        return START_SECONDS + rounds + self.evaluations * self.evaluation_seconds

    def lines(self) -> list[str]:
        """The forecast in words."""
        plan, each = self.plan, self.round
        server, worker = (
            PROCESS_BYTES[who] + VECTORS[who] * self.model_bytes for who in ("server", "worker")
        )
        spent = plan.epsilon_of(plan.releases_in(plan.rounds))
        private = f"{epsilon_text(spent.value)} by {spent.accountant} at delta {plan.delta:.3g}"
        stops = (
            f"; it stops before that and earlier runs on them pass the budget of {plan.epsilon_budget:g}"
            if plan.epsilon_budget
            else ""
        )
        most = f"{self.config.local.memory_megabytes:,} MB more (local.memory-megabytes)"
        return [
            f"{plan.population:,} speakers on {count_of(self.nodes, 'node')}; "
            f"{count_of(plan.rounds, 'round')} of {plan.cohort:g} expected speakers, "
            f"on {self.contacted:,.0f} nodes, by {self.messages:,.0f} messages",
            f"seconds: about {self.seconds:,.0f}: start {START_SECONDS:g}, rounds of "
            f"{each.seconds:,.1f} on {self.workers} workers ({each.bottleneck} takes longest), "
            f"{self.evaluations:g} evaluations of {self.evaluation_seconds:,.1f}",
            f"         (measured now: {self.measured.update:.3g} for a speaker, "
            f"{self.measured.utterance:.3g} for a held-out utterance; a busy machine takes longer)",
            f"bytes: {size(plan.rounds * each.bytes_down)} of models to the nodes, "
            f"{size(plan.rounds * each.bytes_up)} of sums back",
            f"memory: about {size(server)} in the server and {size(worker)} in each of {self.workers} "
            f"workers, where a speaker may take up to {most}",
            f"epsilon: {private}, for this run alone on its speakers{stops}"
            if plan.is_private
            else "epsilon: none, for its noise is none or can be repeated",
            "nothing was started, drawn or spent",
        ]


def contacted(plan: PrivacyPlan, nodes: int) -> float:
    """The expected number of nodes with a drawn speaker, if each holds as many."""
    return float(nodes * (1 - (1 - plan.sampling_rate) ** (plan.population / nodes)))


def messages(plan: PrivacyPlan, nodes: int, hosts: int) -> float:
    """The expected number of messages with tasks of a round: one a node, or some for each of the hosts."""
    if not hosts:
        return contacted(plan, nodes)
    asked = contacted(plan, hosts)
    return min(contacted(plan, nodes), asked * math.ceil(plan.cohort / asked / MOST_SPEAKERS))


def forecast(config: RunConfig, nodes: int, workers: int, hosts: int = 0) -> Forecast:
    """Measure what `config` takes here, on so many simulated nodes, workers and, if any, hosts of the nodes.

    Raises:
        ConfigError, SpeechError: If the run cannot start.
    """
    torch.set_num_threads(1)
    corpus_section = config.corpus.model_copy(update={"feature_cache": False})  # it would keep features
    config = config.model_copy(update={"corpus": corpus_section})
    speech = NodeSpeech.of(config.corpus, {"partition-id": 0, "num-partitions": nodes})
    learner = Learner.of(config, speech)
    layout = learner.layout()
    bounds, quantiser = make_bounds(config.privacy, layout)
    speakers = corpus_of(speech.corpus).speakers(speech.split)
    plan = make_plan(config, len(speakers))
    alphabet = alphabet_of(config.corpus.language, config.corpus.characters)
    model = starting_model(config.model, alphabet, random_seed=0)
    freeze(model, config.model.trained)
    _, vector = bind(model, config.privacy.groups)
    held_out = HeldOut.of(config.corpus, model, EvaluationPlace.of(config.run))
    training = learner.training(torch.zeros(bounds.size))
    training.warm_up()
    sent = messages(plan, nodes, hosts)
    usual = max(1, round(plan.cohort / max(1.0, sent)))
    return Forecast(
        config=config,
        plan=plan,
        nodes=nodes,
        messages=sent,
        workers=workers,
        measured=Measured(
            update=_update_seconds(training, speech.split, speakers, vector),
            utterance=_utterance_seconds(held_out, model),
            value=ValueCosts.measured(config, vector.numel()),
        ),
        utterances=_utterances(held_out),
        values=vector.numel(),
        model_bytes=len(pack_vector(vector)["vector"].data),
        sum_bytes=packed_bytes(usual, bounds, quantiser),
    )


def _update_seconds(
    training: SpeakerTraining, split: str, speakers: Sequence[str], vector: torch.Tensor
) -> float:
    """Mean seconds of the local training of some speakers, spread evenly.

    The last one is trained once before: what a process does only once is no part of it.
    """
    count, trained, began = min(SPEAKERS, len(speakers)), 0, 0.0
    for index in (-1, *range(count)):
        if index == 0:
            trained, began = 0, time.perf_counter()
        name = speakers[index * len(speakers) // count]
        try:
            training.train(SpeakerRound(run="", round_number=1, speaker=name), split, vector, None)
            trained += 1
        except AudioError:  # counts as zero in a run too
            continue
    if not trained:
        raise ConfigError(f"corpus.path: none of {count} speakers has speech that can be trained on")
    return (time.perf_counter() - began) / count


def _utterance_seconds(held_out: HeldOut, model: Recogniser) -> float:
    """Mean seconds of the evaluation of some held-out utterances."""
    examples = [
        example
        for speaker in held_out.speakers[:UTTERANCES]
        for example in held_out.store.examples(held_out.split, speaker)
    ][:UTTERANCES]
    with held_out.place.model(model) as placed:
        began = time.perf_counter()
        evaluate(placed, examples)
        return (time.perf_counter() - began) / len(examples)


def _utterances(held_out: HeldOut) -> int:
    corpus = held_out.store.corpus
    return sum(len(corpus.utterances(held_out.split, speaker)) for speaker in held_out.speakers)


def size(count: float) -> str:
    """A number of bytes in words."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:,.3g} {unit}" if count < 1000 * scale else f"{count / scale:,.0f} {unit}"
    return f"{count:,.0f} bytes"
