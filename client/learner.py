"""What one speaker process can do: which model, settings and speech it trains with.

A run that trains a part of the model (`model.trainable`) needs the seed model beside the speech. The embedded
one is everywhere. If it is a file, the node uses its own, `seed-path="/path"`, else the recipe's path. A run
of a pre-trained model needs the node's own copy (`client.base_model`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from base.clip_groups import ONE_GROUP, ClipGroups
from client.base_model import folder_here, require_digest
from client.corpora import example_store
from client.node_speech import NodeSpeech
from client.own_settings import OwnSettingError
from client.training.local_training import LocalTrainer
from client.training.model import model_to_train
from client.training.process import KEPT_SHARE
from client.training.speaker_round import SpeechLimit
from client.training.speaker_training import SpeakerTraining
from optim.flat_model import layout_of
from privacy import LayerLayout
from recipes import ConfigError, RunConfig, seed_model
from recipes.model_section import BASE, TRAIN_ALL, ModelSection
from recipes.sections import CorpusSection, LocalSection
from speech.model.checks import require_window
from speech.model.recogniser import Recogniser
from speech.text import Alphabet, alphabet_of

KEPT_EXAMPLES = KEPT_SHARE / 2  # share of a speaker's memory budget for examples of earlier rounds


@dataclass(frozen=True, kw_only=True)
class Learner:
    """The model, the settings and the speech of a speaker process. Equal learners share one process."""

    corpus: CorpusSection
    feature_cache: str
    model: ModelSection
    local: LocalSection
    clip_groups: ClipGroups = ONE_GROUP
    folder: Path | None = None  # the node's own copy of the pre-trained model
    seed: Path | None = None  # needed if a part of the model stays as there

    @classmethod
    def of(
        cls, config: RunConfig, node_speech: NodeSpeech, own_seed: str = "", own_model: str = ""
    ) -> Learner:
        """The learner of a node in a run.

        Args:
            config: The run's configuration.
            node_speech: The node's speech.
            own_seed: The seed model's file that the node names; "" if it names none.
            own_model: The folder of the pre-trained model that the node names; "" if it names none.

        Raises:
            ConfigError: If the seed model or the pre-trained model is needed and missing here.
        """
        section = config.model
        whole = section.trainable == TRAIN_ALL or section.seed == BASE
        return cls(
            corpus=node_speech.corpus,
            feature_cache=node_speech.feature_cache,
            model=section,
            local=config.local,
            clip_groups=config.privacy.groups,
            folder=None if section.is_preset else folder_here(own_model, node_speech, section.name),
            seed=None if whole else _seed_here(own_seed, node_speech, section.seed),
        )

    def layout(self) -> LayerLayout:
        """Names and shapes of what is trained; takes no memory.

        Raises:
            ConfigError: If this node's copy of the pre-trained model is not the one of `model.digest`.
        """
        if self.model.digest:
            require_digest(self.model, self.folder)
        with torch.device("meta"):
            return layout_of(self._model(weights=False), self.clip_groups)

    def _model(self, *, weights: bool = True) -> Recogniser:
        folder, seed = self.folder, self.seed if weights else None
        return model_to_train(
            self.model, self.local, self._alphabet, folder=folder, seed=seed, weights=weights
        )

    @property
    def _alphabet(self) -> Alphabet:
        return alphabet_of(self.corpus.language, self.corpus.characters)

    def training(self, memory: Tensor) -> SpeakerTraining:
        """What the speaker process runs; updates go to `memory`.

        The server has checked the model (`speech.model.checks`). Its longest utterance is a rule of the node.
        """
        local, model = self.local, self._model()
        require_window(model, self.corpus.max_seconds)
        kept = KEPT_EXAMPLES * local.memory_megabytes
        return SpeakerTraining(
            store=example_store(self.corpus, model, self.feature_cache, kept),
            trainer=LocalTrainer(model, local, memory=memory, clip_groups=self.clip_groups),
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
