"""The bare local-training loop over adapters of a pre-trained model: run by `simulation_adapters`."""

from __future__ import annotations

import random
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.bare_workers import bare_workers, serve
from benchmarks.simulation_speakers import COHORT, RoundLog, speaker_round
from cli.composing import default_config, read_recipe, read_settings
from client.corpora import corpus_of, example_store
from client.training.local_training import LocalTrainer
from client.training.model import model_to_train
from recipes import RunConfig

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "run" / "whisper-adapt.toml"
MEMORY_MEGABYTES = 1024.0  # for what is kept: all of it


def config(settings: str) -> RunConfig:
    """The recipe with the settings of the benchmark."""
    return RunConfig.from_flat({**default_config(), **read_recipe(RECIPE), **read_settings([settings])})


def work(pipe: Connection, settings: str) -> None:
    """Train speakers of the benchmark's corpus; what is frozen is computed before the first round."""
    chosen = config(settings)
    corpus = corpus_of(chosen.corpus)
    model = model_to_train(chosen.model, chosen.local, corpus.alphabet)
    trainer = LocalTrainer(model, chosen.local)
    vector = trainer._vector.clone()
    store = example_store(chosen.corpus, model, "", MEMORY_MEGABYTES)
    examples = [store.examples("train", name) for name in corpus.speakers("train")]

    def one(number: int, speaker: int) -> None:
        trainer.update(vector, examples[speaker], speaker_round(number, speaker))

    serve(pipe, one)


def main(log_path: str, rounds: int, settings: str) -> None:
    """Rounds of half of all speakers for each process, others in each round."""
    with bare_workers(work, settings) as train:
        log = RoundLog(log_path)
        for number in range(1, rounds + 1):
            chosen = random.Random(number).sample(range(COHORT), COHORT)
            log.begin()
            train(number, chosen)
            log.end(number)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
