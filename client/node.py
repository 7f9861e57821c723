"""A node: a place with speakers. It has those that were drawn trained and returns one clipped sum.

Which speech is the node's, `client.node_speech` says; in which process it is read, `client.training.process`.

A run that trains a part of the model (`model.trainable`) needs the seed model beside the speech. The embedded
one is; for a file it is that of `seed-path="/path"`, or else the path that the recipe has.

`speaker-namespace="..."` says that its ids of speakers mean the same people on all nodes that name it too
(`wire.pseudonyms`).

Features of a node's own speech are kept on its disk only if it says where: `feature-cache="/path"`.

Speakers who have left (`client.state.departures`, in the folder that `node-state="/path"` names) are none of
its speakers: this is asked at every message, and again before every visit.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import recipes
from base.registries import MODEL_PRESETS
from client.node_speech import NodeSpeech
from client.policy.limits import NO_LIMITS, NodePolicy
from client.policy.training_counts import TrainingCounts
from client.state.departures import Departures
from client.state.node_state import node_state, node_state_path
from client.training.control_variates import ControlVariates
from client.training.local_training import LocalTrainer
from client.training.process import KEPT_SHARE, SpeakerBudget, SpeakerProcess, Trained
from client.training.speaker_round import SpeakerRound, SpeechLimit
from client.training.speaker_training import SpeakerTraining
from optim.flat_model import layout_of
from optim.trainable import freeze
from privacy import LayerLayout, accumulator_dtype, add_clipped_, add_indicators_, unclipped_slices
from privacy.released_metrics import STATISTICS, add_statistics_
from recipes import WITHOUT_FILES, ConfigError, RunConfig, corpus_path, resolve, seed_model
from recipes.sections import TRAIN_ALL, CorpusSection, LocalSection
from speech.corpora.corpus import Corpus
from speech.corpora.loading import load_corpus
from speech.corpora.speakers import require_one_for_each_node
from speech.data.examples import ExampleStore
from speech.data.feature_cache import FeatureCache, remove
from speech.model.ctc_transformer import build_model
from speech.text import alphabet_of
from wire.messages import Task
from wire.node_info import MOST_TOKENS, NodeInfo
from wire.pseudonyms import fingerprint, key_of, tokens_of
from wire.raw_metrics import RawMetrics

log = logging.getLogger("murmuration.client")

# A process trains one speaker at a time; two OpenMP threads on a busy machine are many times slower.
torch.set_num_threads(1)

MOST_PROCESSES = 2  # of different speech or training, kept for the next message
KEPT_EXAMPLES = KEPT_SHARE / 2  # share of a visit's memory for the examples of earlier visits


@dataclass(frozen=True, kw_only=True)
class Learner:
    """What the speakers of a process train, and with which speech: what one process can do for its nodes."""

    corpus: CorpusSection
    feature_cache: str
    preset: str
    local: LocalSection
    trainable: str
    seed: Path | None  # needed where not all is trained

    @classmethod
    def of(cls, config: RunConfig, node_speech: NodeSpeech, own_seed: str = "") -> Learner:
        """For a run and a node's share; `own_seed` is the seed model that the node names.

        Raises:
            ConfigError: Where the seed model is needed and missing.
        """
        trainable = config.model.trainable
        return cls(
            corpus=node_speech.corpus,
            feature_cache=node_speech.feature_cache,
            preset=config.model.preset,
            local=config.local,
            trainable=trainable,
            seed=None
            if trainable == TRAIN_ALL
            else _seed_here(own_seed or node_speech.seed(config.model.seed)),
        )

    def layout(self) -> LayerLayout:
        """Names and shapes of what is trained; takes no memory."""
        with torch.device("meta"):
            model = build_model(self.preset, alphabet_of(self.corpus.language, self.corpus.characters))
        freeze(model, self.trainable)
        return layout_of(model)

    def training(self, memory: Tensor) -> SpeakerTraining:
        """What trains, in the process of the speakers; updates go to `memory`."""
        local = self.local
        kept = KEPT_EXAMPLES * local.memory_megabytes
        trainer = LocalTrainer(
            self.preset,
            local,
            language=alphabet_of(self.corpus.language, self.corpus.characters),
            memory=memory,
            trainable=self.trainable,
            seed=self.seed,
        )
        return SpeakerTraining(
            store=_store(self.corpus, self.preset, self.feature_cache, kept),
            trainer=trainer,
            limit=SpeechLimit(**local.most_of_a_speaker),
            longest_seconds=self.corpus.max_seconds,
        )


class Node:
    """The speakers of one node and the process that trains them."""

    def __init__(
        self,
        node_speech: NodeSpeech,
        corpus: Corpus,
        departures: Departures,
        learner: Learner,
        layout: LayerLayout,
        process: SpeakerProcess,
        config: RunConfig,
        policy: NodePolicy = NO_LIMITS,
        visits: TrainingCounts | None = None,
    ) -> None:
        self._share, self._corpus, self._layout = node_speech, corpus, layout
        self._local, self._process, self.config = config.local, process, config
        self.departures, self._learner = departures, learner
        self.policy, self._visits = policy, visits
        require_one_for_each_node(corpus, node_speech.split, node_speech.parts)
        self.everybody = corpus.speakers(node_speech.split)[node_speech.index :: node_speech.parts]
        self.left = len(departures.entries)  # taken once: the record may grow at any moment
        self.speakers = departures.without(self.everybody, first=self.left)
        self.dataset = corpus.digest
        self.simulated = node_speech.simulated
        self.algorithm = config.local.algorithm

    @classmethod
    def of(cls, config: RunConfig, node_config: Mapping[str, Any]) -> Node:
        """The node for this configuration; what it loaded and started is kept for the life of the process."""
        node_speech = NodeSpeech.of(config.corpus, node_config)
        policy = NodePolicy.for_run(config, node_speech, node_config)
        departures = Departures(node_state_path(node_config))
        learner = Learner.of(config, node_speech, str(node_config.get("seed-path", "")))
        corpus = _corpus(node_speech.corpus)
        _forget_departed(departures, corpus, learner)
        layout, process = _process(learner)
        visits = TrainingCounts(node_state(node_config)) if node_speech.of_people else None
        return cls(node_speech, corpus, departures, learner, layout, process, config, policy, visits)

    @property
    def anybody_left(self) -> bool:
        """Whether somebody of its part of the corpus has left."""
        return len(self.speakers) < len(self.everybody)

    def departed(self, people: Sequence[str]) -> list[int]:
        """The numbers of those of `people` who have left."""
        gone = len(people) - len(self.departures.without(people))
        return [number for number, one in enumerate(people) if self.departures.of(one)] if gone else []

    @property
    def node_info(self) -> NodeInfo:
        """What the node says of itself at the roll call. Raises `ConfigError` if all its people have left."""
        if not self.speakers:
            raise ConfigError("this node holds nobody who takes part any more: stop its SuperNode")
        return NodeInfo(
            speakers=len(self.speakers),
            dataset=self.dataset,
            split=self._share.split,
            part=self._share.index,
            parts=self._share.parts,
            skipped=len(self._corpus.skipped),
            **self._pseudonyms(),
        )

    def _pseudonyms(self) -> dict[str, Any]:
        """Whether its speakers are synthetic, and else their tokens, if they are not too many."""
        if self._share.corpus.kind in WITHOUT_FILES:
            return {"synthetic": True}
        if len(self.speakers) > MOST_TOKENS:
            return {}
        key = key_of(self._share.namespace, self._corpus.speaker_key)
        return {"namespace": fingerprint(key), "tokens": tokens_of(key, self.speakers)}

    def require_frozen(self, digest: str) -> None:
        """Raise `ConfigError` unless `digest` is that of the parameters which this node does not train."""
        if digest != self._process.ready.frozen:
            raise ConfigError(
                "model.trainable: the parameters that are not trained are not those of the server: copy the "
                "seed model of the server's run here and name it, --node-config 'seed-path=\"...\"'"
            )

    def require_time(self) -> None:
        """Raise `ConfigError` if a speaker with as much speech as a visit may use could not be trained within
        the budget here: all such speakers would count as zero.

        To be asked at registration only. A machine that has become slower must not end a node's part in
        mid-run.
        """
        local, needed = self._local, self._process.ready.longest_seconds
        allowed, seconds = local.processor_seconds, local.most_of_a_speaker["seconds"]
        if needed > allowed:
            raise ConfigError(
                f"local.processor-seconds = {allowed:g}: the training of a speaker with local.most-seconds = "
                f"{local.most_seconds:g} of speech takes some {needed:.1f} s of a processor here, and such "
                f"speakers would count as zero; set it to {math.ceil(3 * needed)}, or local.most-seconds to "
                f"{max(1, int(seconds * allowed / needed / 3))}"
            )

    def load(self, task: Task, vector: Tensor) -> None:
        """Take the model (d,) of `task`, which need not be kept then.

        Raises:
            ConfigError: If un-noised metrics are asked of a node that is no share of a simulation, what it
                does not train is not what the server has there, or plan or bounds are beyond the node's
                limits.
            ValueError: If the task is for another model.
        """
        self._check(task)
        self._process.load(vector)

    def train(
        self, task: Task, people: Sequence[str], controls: ControlVariates | None = None
    ) -> tuple[Tensor, RawMetrics | None]:
        """Train each drawn speaker from the loaded model, clip, round, add. `controls` are SCAFFOLD's.

        `people` are the speakers that the task's numbers mean (`client.state.registered_speakers`).

        Returns the sum (task.bounds.size,) in grid steps, and un-noised metrics where they are asked for.

        Guarantee: the sum is that of the speakers' own parts, each of which follows from the speaker, the
        round and the run alone and is within the bound of each slice, to the bit. A speaker who was asked for
        too often (`most-rounds-per-speaker`), or whose training fails, dies or passes its budget, counts as
        the zero vector, and so does an update with a number that is not finite (its statistics, bounded as
        anybody's, are still added). Who has left counts as zero, and nothing of theirs is read.

        Raises:
            ValueError: If the task is for speakers that this node does not hold, or for one of them twice.
            DepartureError: If it cannot be known who has left.
        """
        _require_held(task, people)
        raw = RawMetrics() if task.raw_metrics else None
        total = torch.zeros(
            task.bounds.size, dtype=accumulator_dtype(max(1, len(task.speakers)), task.quantiser)
        )
        over = self._over_their_limit(task, people)
        for number in task.speakers:
            if people[number] in over or self.departures.of(people[number]) is not None:
                continue
            visit = SpeakerRound(run=task.run, round_number=task.round_number, speaker=people[number])
            correction = controls.correction(number) if controls else None
            trained = self._process.train(visit, self._share.split, correction)
            if trained is None:
                continue
            update, said = trained
            if controls:
                controls.learn(number, self._mean_step(update, said))
            _add_(total, raw, update[: task.bounds.size], said.loss, task)
        _forget_departed(self.departures, self._corpus, self._learner)
        return total, raw

    def _over_their_limit(self, task: Task, people: Sequence[str]) -> set[str]:
        """Who was asked for too often; all others are counted, before they are trained."""
        if self._visits is None:
            return set()
        drawn, most = [people[number] for number in task.speakers], self.policy.most_rounds_per_speaker
        over = self._visits.add(
            drawn, run=task.run, round_number=task.round_number, most=most, plan=task.plan
        )
        if over:
            log.warning(
                "%d drawn speakers were asked for %d times before: they count as zero", len(over), most
            )
        return over

    def _mean_step(self, update: Tensor, said: Trained) -> Tensor:
        """An update over its steps and learning rate (d,): plain SGD's mean gradient."""
        return update[: self._layout.size] / (said.steps * self._local.learning_rate)

    def _check(self, task: Task) -> None:
        if task.raw_metrics and not self.simulated:
            raise ConfigError(
                "run.raw-metrics = true: un-noised metrics are for simulations, and this node holds speech "
                "of its own; set run.raw-metrics to false"
            )
        if task.layout != self._layout.digest:
            raise ValueError("the server trains another model: use the same model.preset and release")
        self.require_frozen(task.frozen)
        self.policy.require_task(task, self.config)
        if (task.bounds.model_size, task.bounds.statistics) != (self._layout.size, len(STATISTICS)):
            raise ValueError("the clip bounds do not cover exactly the model and the statistics")


def _require_held(task: Task, people: Sequence[str]) -> None:
    if task.speakers and not 0 <= min(task.speakers) <= max(task.speakers) < len(people):
        raise ValueError(f"a drawn speaker is beyond the {len(people)} of this node")
    if len(set(task.speakers)) < len(task.speakers):
        raise ValueError("a speaker is drawn more than once: the sum would hold that update as often")


def _add_(total: Tensor, raw: RawMetrics | None, update: Tensor, loss: float, task: Task) -> None:
    """Add what one speaker gives: the clipped update, the statistics, the bits of adaptive bounds."""
    clipped = add_clipped_(total, update, task.bounds, task.quantiser)
    add_statistics_(total, (clipped, loss), task.bounds, task.quantiser)
    if raw is not None:
        raw.add(train_loss=loss, clipped_share=clipped)
    if task.bounds.indicators:
        add_indicators_(total, unclipped_slices(update, task.bounds), task.bounds, task.quantiser)


@lru_cache(maxsize=2)
def _corpus(section: CorpusSection) -> Corpus:
    return load_corpus(section.kind, corpus_path(section.kind, section.path), **section.rules)


def _store(section: CorpusSection, preset: str, feature_cache: str, cache_megabytes: float) -> ExampleStore:
    corpus, features = _corpus(section), MODEL_PRESETS[preset].features
    disk, folder = None, _feature_folder(section, feature_cache)
    if folder is not None:
        disk = (FeatureCache if feature_cache else FeatureCache.if_possible)(folder, corpus, features)
    return ExampleStore(corpus, features, disk=disk, cache_bytes=int(cache_megabytes * 1024**2))


def _feature_folder(section: CorpusSection, feature_cache: str) -> Path | None:
    """Where the features of a node's speech are kept on disk, if they are."""
    if feature_cache:
        return resolve(feature_cache)
    return recipes.feature_cache() if section.feature_cache else None


def _forget_departed(departures: Departures, corpus: Corpus, learner: Learner) -> None:
    """Drop what this process, and those of the speakers, keep of people who left since it was last asked.

    A visit that was under way as its speaker left may have written features after the command removed them.
    """
    folder = _feature_folder(learner.corpus, learner.feature_cache)
    fresh = [one.speaker for one in departures.entries if (folder, one.speaker) not in _FORGOTTEN]
    if folder is not None:
        for speaker, split in itertools.product(fresh, corpus.splits):
            if corpus.has_speaker(split, speaker):
                remove(folder, corpus.utterances(split, speaker))
    for _, process in _PROCESSES.values() if fresh else ():
        process.close()
    _FORGOTTEN.update((folder, speaker) for speaker in fresh)


_FORGOTTEN: set[tuple[Path | None, str]] = set()
_PROCESSES: OrderedDict[Learner, tuple[LayerLayout, SpeakerProcess]] = OrderedDict()


def _process(learner: Learner) -> tuple[LayerLayout, SpeakerProcess]:
    """The process for all nodes of this kind here; the one that was asked for least recently may go."""
    if learner not in _PROCESSES:
        while len(_PROCESSES) >= MOST_PROCESSES:
            _PROCESSES.popitem(last=False)[1][1].close()
        layout = learner.layout()
        room = layout.size + len(STATISTICS) + len(layout)  # and a bit of every layer, if bounds adapt
        local = learner.local
        budget = SpeakerBudget(
            processor_seconds=local.processor_seconds, memory_megabytes=local.memory_megabytes
        )
        made = SpeakerProcess(learner.training, size=layout.size, room=room, budget=budget)
        _PROCESSES[learner] = layout, made
    _PROCESSES.move_to_end(learner)
    return _PROCESSES[learner]


def forget() -> None:
    """End all processes and forget all corpora: the next node begins afresh."""
    while _PROCESSES:
        _PROCESSES.popitem()[1][1].close()
    _corpus.cache_clear()
    _FORGOTTEN.clear()


def _seed_here(seed: str) -> Path:
    """The seed model's file on this node. Raises `ConfigError` if there is none."""
    path = seed_model(seed)
    if not path.is_file():
        raise ConfigError(
            f"model.trainable needs the seed model on every node, and {path} is not here: copy the server's "
            "and name it, --node-config 'seed-path=\"...\"'"
        )
    return path
