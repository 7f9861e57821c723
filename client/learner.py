"""What one speaker process can do: which model, settings and speech it trains with.

A run that trains a part of the model (`model.trainable`) needs the seed model beside the speech. The embedded
one is everywhere. If it is a file, the node uses its own, `seed-path="/path"`, else the recipe's path.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from base.clip_groups import ClipGroups
from client.corpora import example_store
from client.node_speech import NodeSpeech
from client.own_settings import OwnSettingError
from client.training.local_training import LocalTrainer
from client.training.process import KEPT_SHARE
from client.training.speaker_round import SpeechLimit
from client.training.speaker_training import SpeakerTraining
from optim.flat_model import layout_of
from optim.trainable import freeze
from privacy import LayerLayout
from recipes import ConfigError, RunConfig, seed_model
from recipes.sections import TRAIN_ALL, CorpusSection, LocalSection
from speech.model.ctc_transformer import build_model
from speech.text import alphabet_of

KEPT_EXAMPLES = KEPT_SHARE / 2  # share of a speaker's memory budget for examples of earlier rounds


@dataclass(frozen=True, kw_only=True)
class Learner:
    """The model, the settings and the speech of a speaker process. Equal learners share one process."""

    corpus: CorpusSection
    feature_cache: str
    preset: str
    local: LocalSection
    trainable: str
    clip_groups: ClipGroups
    seed: Path | None  # needed if a part of the model is not trained

    @classmethod
    def of(cls, config: RunConfig, node_speech: NodeSpeech, own_seed: str = "") -> Learner:
        """The learner of a node in a run.

        Args:
            config: The run's configuration.
            node_speech: The node's speech.
            own_seed: The seed model's file that the node names; "" if it names none.

        Raises:
            ConfigError: If the seed model is needed and missing.
        """
        trainable = config.model.trainable
        return cls(
            corpus=node_speech.corpus,
            feature_cache=node_speech.feature_cache,
            preset=config.model.preset,
            local=config.local,
            trainable=trainable,
            clip_groups=config.privacy.groups,
            seed=None if trainable == TRAIN_ALL else _seed_here(own_seed, node_speech, config.model.seed),
        )

    def layout(self) -> LayerLayout:
        """Names and shapes of what is trained; takes no memory."""
        with torch.device("meta"):
            model = build_model(self.preset, alphabet_of(self.corpus.language, self.corpus.characters))
        freeze(model, self.trainable)
        return layout_of(model, self.clip_groups)

    def training(self, memory: Tensor) -> SpeakerTraining:
        """What the speaker process runs; updates go to `memory`."""
        local = self.local
        kept = KEPT_EXAMPLES * local.memory_megabytes
        trainer = LocalTrainer(
            self.preset,
            local,
            language=alphabet_of(self.corpus.language, self.corpus.characters),
            memory=memory,
            trainable=self.trainable,
            clip_groups=self.clip_groups,
            seed=self.seed,
        )
        return SpeakerTraining(
            store=example_store(self.corpus, self.preset, self.feature_cache, kept),
            trainer=trainer,
            limit=SpeechLimit(**local.most_of_a_speaker),
            longest_seconds=self.corpus.max_seconds,
        )


def _seed_here(own: str, node_speech: NodeSpeech, of_the_run: str) -> Path:
    """The seed model's file on this node: the one that the node names, or else the run's.

    Raises:
        ConfigError: If there is no such file.
    """
    path = seed_model(own or node_speech.seed(of_the_run))
    if path.is_file():
        return path
    if own:
        raise OwnSettingError("seed-path", own, "there is no such file: copy the server's seed model there")
    raise ConfigError(
        f"model.trainable needs the seed model on every node, and model.seed = {of_the_run!r} is not here: "
        "copy the server's and name it, --node-config 'seed-path=\"...\"'"
    )
