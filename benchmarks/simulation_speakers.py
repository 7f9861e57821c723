"""What every party of `simulation` works on: the same speakers, model, settings and local training."""

from __future__ import annotations

import json
import random
import time
from functools import lru_cache
from pathlib import Path

import torch

import recipes
from base.registries import MODEL_PRESETS
from cli.composing import default_config
from client.training.local_training import LocalTrainer
from client.training.model import model_to_train
from client.training.speaker_round import SpeakerRound
from recipes import RunConfig
from speech.corpora.corpus import Corpus
from speech.corpora.loading import load_corpus
from speech.data.examples import Example, ExampleStore
from speech.data.feature_cache import FeatureCache
from speech.model.ctc_transformer import build_model
from speech.text import ENGLISH
from strategies import bind

COHORT = 64
PROCESSES = 2
PRESET = "tiny"


def config() -> RunConfig:
    """The project's default run: batches of 5 utterances, one pass, SGD, SpecAugment."""
    return RunConfig.from_flat(default_config())


@lru_cache
def corpus() -> Corpus:
    """The embedded corpus."""
    return load_corpus("embedded", "")


@lru_cache
def speakers() -> list[list[Example]]:
    """The training speakers' utterances; features come from the cache that simulations share."""
    disk = FeatureCache.if_possible(recipes.feature_cache(), corpus(), MODEL_PRESETS[PRESET].features)
    store = ExampleStore(corpus(), MODEL_PRESETS[PRESET].features, disk=disk)
    return [store.examples("train", name) for name in corpus().speakers("train")]


@lru_cache
def synthetic(speakers: str) -> ExampleStore:
    """So many synthetic speakers ("1000x1": with an utterance each), made when they are asked for."""
    return ExampleStore(load_corpus("synthetic", speakers), MODEL_PRESETS[PRESET].features)


@lru_cache
def trainer() -> LocalTrainer:
    """This process's trainer."""
    torch.set_num_threads(1)
    model, local = config().model, config().local
    return LocalTrainer(model_to_train(model, local, ENGLISH), local)


def speaker_round(round_number: int, speaker: int) -> SpeakerRound:
    """What is random about the training of a speaker (its number) in a round."""
    return SpeakerRound(run="", round_number=round_number, speaker=str(speaker))


def first_vector() -> torch.Tensor:
    """The model that every party starts from, as a vector (d,)."""
    return bind(build_model(PRESET, seed=0))[1]


def cohort(round_number: int) -> list[int]:
    """`COHORT` different speakers, others in each round."""
    return random.Random(round_number).sample(range(len(speakers())), COHORT)


class RoundLog:
    """A file with a line a round, which the measuring process follows."""

    def __init__(self, path: str) -> None:
        self._path, self._began = Path(path), time.monotonic()

    def begin(self) -> None:
        """The next round's time counts from now."""
        self._began = time.monotonic()

    def end(self, round_number: int) -> None:
        """One round of `COHORT` updates is over, and the next begins."""
        line = {"round": round_number, "drawn": COHORT, "seconds": time.monotonic() - self._began}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.begin()
