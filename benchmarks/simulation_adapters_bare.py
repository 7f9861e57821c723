"""The bare local-training loop over adapters of a pre-trained model: run by `simulation_adapters`."""

from __future__ import annotations

import random
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import recipes
from benchmarks.bare_workers import bare_workers, serve
from benchmarks.simulation_speakers import COHORT, RoundLog, corpus, speaker_round
from cli.composing import default_config, read_recipe, read_settings
from client.training.local_training import LocalTrainer
from client.training.model import model_to_train
from recipes import RunConfig
from speech.data.examples import ExampleStore
from speech.data.feature_cache import FeatureCache

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "run" / "whisper-adapt.toml"


def config(settings: str) -> RunConfig:
    """The recipe with the settings of the benchmark."""
    return RunConfig.from_flat({**default_config(), **read_recipe(RECIPE), **read_settings([settings])})


def work(pipe: Connection, settings: str) -> None:
    """Train speakers of the embedded corpus; what is frozen is computed before the first round."""
    chosen = config(settings)
    model = model_to_train(chosen.model, chosen.local, corpus().alphabet)
    trainer = LocalTrainer(model, chosen.local)
    vector = trainer._vector.clone()
    disk = FeatureCache.if_possible(recipes.feature_cache(), corpus(), model.front_end)
    store = ExampleStore(corpus(), model.front_end, tokeniser=model.tokeniser, disk=disk)
    examples = [store.examples("train", name) for name in corpus().speakers("train")]

    def one(number: int, speaker: int) -> None:
        trainer.update(vector, examples[speaker], speaker_round(number, speaker))

    serve(pipe, one)


def main(log_path: str, rounds: int, settings: str) -> None:
    """Rounds of half a cohort for each process."""
    everybody = range(len(corpus().speakers("train")))
    with bare_workers(work, settings) as train:
        log = RoundLog(log_path)
        for number in range(1, rounds + 1):
            chosen = random.Random(number).sample(everybody, COHORT)
            log.begin()
            train(number, chosen)
            log.end(number)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
