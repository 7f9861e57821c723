"""A node: a place with speakers. It trains those that were drawn and returns one clipped sum.

Which speech a node holds is its own affair: `--node-config 'corpus-kind="manifest" corpus-path="..."'`
of its SuperNode says it, and a server cannot. Only a node that says that it is a part of a simulation or a
demo, by Flower's `partition-id` and `num-partitions`, takes that part of the run's corpus, wherever that is.

A run that trains a part of the model (`model.trainable`) needs the seed model beside the speech. The embedded
one is; for a file it is that of `seed-path="/path"`, or else the path that the recipe has.

`speaker-namespace="..."` says that its ids of speakers mean the same people on all nodes that name it too
(`strategies.pseudonyms`).

Features of a node's own speech are kept on its disk only if it says where: `feature-cache="/path"`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import recipes
from client.control_variates import ControlVariates
from client.local_training import LocalTrainer
from privacy import accumulator_dtype, add_clipped_, add_indicators_, unclipped_slices
from privacy.statistics import STATISTICS, add_statistics_
from recipes import WITHOUT_FILES, ConfigError, RunConfig, corpus_path, resolve, seed_model
from recipes.sections import TRAIN_ALL, CorpusSection
from speech.corpus import Corpus, load_corpus
from speech.examples import ExampleStore
from speech.feature_cache import FeatureCache
from speech.features import PRESETS as FEATURES
from speech.speakers import require_one_for_each_node
from strategies.holding import MOST_TOKENS, Holding
from strategies.protocol import Task
from strategies.pseudonyms import fingerprint, key_of, tokens_of
from strategies.raw_metrics import RawMetrics

log = logging.getLogger("murmuration.client")

# A process trains one speaker at a time; two OpenMP threads on a busy machine are many times slower.
torch.set_num_threads(1)


OWN_SPEECH = {"corpus-kind", "corpus-path"}
PART_OF_THE_RUNS = {"partition-id", "num-partitions"}


def is_simulated(node_config: Mapping[str, Any]) -> bool:
    """Whether the node's speech is a part of the run's own corpus, which the server's people know."""
    return bool(PART_OF_THE_RUNS & set(node_config)) and not OWN_SPEECH & set(node_config)


def _part(node_config: Mapping[str, Any]) -> tuple[int, int]:
    """Which part (from 0) of how many. Raises `ConfigError` if there is no such part."""
    index, parts = node_config.get("partition-id"), node_config.get("num-partitions")
    if not (isinstance(index, int) and isinstance(parts, int) and 0 <= index < parts):
        raise ConfigError(
            f"--node-config 'partition-id={index} num-partitions={parts}': a node that shares the run's "
            "corpus needs both, and the first is from 0 to one less than the second; two nodes with the same "
            "speakers would have them count twice"
        )
    return index, parts


@dataclass(frozen=True, kw_only=True)
class Share:
    """Which speech is this node's: a corpus, and the part of it (part `index` of `parts`)."""

    corpus: CorpusSection
    split: str
    index: int
    parts: int
    simulated: bool
    feature_cache: str  # the folder that the node names; `corpus` says whether there is one without a name
    namespace: str = ""  # within which ids of speakers mean the same people; empty: within the corpus

    @classmethod
    def of(cls, corpus: CorpusSection, node_config: Mapping[str, Any]) -> Share:
        """From the run's corpus section, overridden by what the node says of itself.

        Raises
        ------
        ConfigError
            If the node says neither which speech is its own nor which part of the run's, or no such part
            can be.
        """
        own = bool(OWN_SPEECH & set(node_config))
        simulated = is_simulated(node_config)
        if not (own or simulated or corpus.kind in WITHOUT_FILES):
            raise ConfigError(
                f"corpus.path = {corpus.path!r}: a node opens no path that a server names; start its "
                "SuperNode with --node-config 'corpus-path=\"/data/manifest.jsonl\"', its own speech"
            )
        index, parts = _part(node_config) if simulated else (0, 1)
        return cls(
            corpus=corpus.model_copy(
                update={
                    "kind": str(node_config.get("corpus-kind", "manifest" if own else corpus.kind)),
                    "path": str(node_config.get("corpus-path", "" if own else corpus.path)),
                    "feature_cache": corpus.feature_cache and simulated,
                }
            ),
            split=str(node_config.get("corpus-split", corpus.train_split)),
            index=index,
            parts=parts,
            simulated=simulated,
            feature_cache=str(node_config.get("feature-cache", "")),
            namespace=str(
                node_config.get("speaker-namespace", corpus.speaker_namespace if simulated else "")
            ),
        )


class Node:
    """The speakers of one node and what it takes to train them."""

    def __init__(self, share: Share, store: ExampleStore, trainer: LocalTrainer) -> None:
        self._share, self._store, self._trainer = share, store, trainer
        corpus = store.corpus
        require_one_for_each_node(corpus, share.split, share.parts)
        self.speakers = corpus.speakers(share.split)[share.index :: share.parts]
        self.dataset = corpus.digest
        self.simulated = share.simulated
        self.algorithm = trainer.settings.algorithm

    @classmethod
    def of(cls, config: RunConfig, node_config: Mapping[str, Any]) -> Node:
        """The node for this configuration; what it loaded is kept for the life of the process."""
        share = Share.of(config.corpus, node_config)
        store = _store(share.corpus, config.model.preset, share.feature_cache)
        return cls(share, store, _trainer(config, str(node_config.get("seed-path", config.model.seed))))

    @property
    def holding(self) -> Holding:
        """What the node says of itself at the roll call."""
        return Holding(
            speakers=len(self.speakers),
            dataset=self.dataset,
            split=self._share.split,
            part=self._share.index,
            parts=self._share.parts,
            skipped=len(self._store.corpus.skipped),
            **self._pseudonyms(),
        )

    def _pseudonyms(self) -> dict[str, Any]:
        """Whether its speakers are synthetic, and else their tokens, if they are not too many."""
        if self._share.corpus.kind in WITHOUT_FILES:
            return {"synthetic": True}
        if len(self.speakers) > MOST_TOKENS:
            return {}
        key = key_of(self._share.namespace, self._store.corpus.speaker_key)
        return {"namespace": fingerprint(key), "tokens": tokens_of(key, self.speakers)}

    def require_frozen(self, digest: str) -> None:
        """Raise `ConfigError` unless `digest` is that of the parameters which this node does not train."""
        if digest != self._trainer.frozen:
            raise ConfigError(
                "model.trainable: the parameters that are not trained are not those of the server: copy the "
                "seed model of the server's run here and name it, --node-config 'seed-path=\"...\"'"
            )

    def train(
        self,
        task: Task,
        vector: Tensor,
        people: Sequence[str],
        controls: ControlVariates | None = None,
    ) -> tuple[Tensor, RawMetrics | None]:
        """Train each drawn speaker from `vector`, clip, round, add. `controls` are SCAFFOLD's.

        `people` are the speakers that the task's numbers mean (`client.roll`).

        Returns the sum (task.bounds.size,) in grid steps, and un-noised metrics where they are asked for.

        Guarantee: one speaker moves the sum by at most the bound of each slice; a speaker whose
        training fails counts as the zero vector, and so does an update with a number that is not finite
        (its statistics, bounded as anybody's, are still added).

        Raises
        ------
        ConfigError
            If un-noised metrics are asked of a node that is no share of a simulation, or what it does not
            train is not what the server has there.
        ValueError
            If the task is for another model or for speakers that this node does not hold.
        """
        self._check(task, people)
        raw = RawMetrics() if task.raw_metrics else None
        self._trainer.reserve(task.bounds.size)
        total = torch.zeros(task.bounds.size, dtype=accumulator_dtype(max(1, len(task.speakers)), task.grid))
        for number in task.speakers:
            self._add_speaker_(total, raw, (number, people[number]), task, vector, controls)
        return total, raw

    def _add_speaker_(
        self,
        total: Tensor,
        raw: RawMetrics | None,
        speaker: tuple[int, str],
        task: Task,
        vector: Tensor,
        controls: ControlVariates | None,
    ) -> None:
        number, name = speaker
        try:
            examples = self._store.examples(self._share.split, name)
            correction = controls.correction(number) if controls else None
            order = (task.round_number, number)
            update, loss = self._trainer.update(vector, examples, order, correction)
        except Exception:  # one speaker's trouble must not cost the others their round
            log.exception("a speaker could not be trained and counts as zero")
            return
        if controls:
            controls.learn(number, self._trainer.mean_step())
        clipped = add_clipped_(total, update, task.bounds, task.grid)
        add_statistics_(total, (clipped, loss), task.bounds, task.grid)
        if raw is not None:
            raw.add(train_loss=loss, clipped_share=clipped)
        if task.bounds.indicators:
            add_indicators_(total, unclipped_slices(update, task.bounds), task.bounds, task.grid)

    def _check(self, task: Task, people: Sequence[str]) -> None:
        if task.raw_metrics and not self.simulated:
            raise ConfigError(
                "run.raw-metrics = true: un-noised metrics are for simulations, and this node holds speech "
                "of its own; set run.raw-metrics to false"
            )
        if task.layout != self._trainer.layout.digest:
            raise ValueError("the server trains another model: use the same model.preset and release")
        self.require_frozen(task.frozen)
        if task.speakers and not 0 <= min(task.speakers) <= max(task.speakers) < len(people):
            raise ValueError(f"a drawn speaker is beyond the {len(people)} of this node")
        if (task.bounds.model_size, task.bounds.statistics) != (
            self._trainer.layout.size,
            len(STATISTICS),
        ):
            raise ValueError("the clip bounds do not cover exactly the model and the statistics")


@lru_cache(maxsize=2)
def _corpus(section: CorpusSection) -> Corpus:
    return load_corpus(section.kind, corpus_path(section.kind, section.path), **section.rules)


@lru_cache(maxsize=2)
def _store(section: CorpusSection, preset: str, feature_cache: str) -> ExampleStore:
    corpus, features = _corpus(section), FEATURES[preset]
    disk = None
    if feature_cache:
        disk = FeatureCache(resolve(feature_cache), corpus, features)
    elif section.feature_cache:
        disk = FeatureCache.if_possible(recipes.feature_cache(), corpus, features)
    return ExampleStore(corpus, features, disk=disk)


_TRAINERS: dict[tuple[Any, ...], LocalTrainer] = {}


def _trainer(config: RunConfig, seed: str) -> LocalTrainer:
    language, trainable = config.corpus.language, config.model.trainable
    frozen_at = None if trainable == TRAIN_ALL else _seed_here(seed)
    key = (config.model.preset, language, config.local, trainable, frozen_at)
    if key not in _TRAINERS:
        _TRAINERS[key] = LocalTrainer(
            config.model.preset,
            config.local,
            language=language,
            room_for=len(STATISTICS),
            trainable=trainable,
            seed=frozen_at,
        )
    return _TRAINERS[key]


def _seed_here(seed: str) -> Path:
    """The seed model's file on this node. Raises `ConfigError` if there is none."""
    path = seed_model(seed)
    if not path.is_file():
        raise ConfigError(
            f"model.trainable needs the seed model on every node, and {path} is not here: copy the server's "
            "and name it, --node-config 'seed-path=\"...\"'"
        )
    return path
