"""What features on disk cost and save, on the embedded corpus: `python -m benchmarks.feature_cache`.

Compared in one run: a store that computes its features, one that also writes them, one that finds them
written, and a pass of local training over the same speakers, to see the others beside it. And what a file a
speaker costs with as many speakers as the paper's largest corpus has.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from base.registries import MODEL_PRESETS
from benchmarks.report import best_seconds, conditions, one_thread, table, write
from cli.composing import default_config
from client.training.local_training import LocalTrainer
from client.training.speaker_round import SpeakerRound
from recipes import RunConfig
from speech.corpora.corpus import Corpus, Utterance
from speech.corpora.loading import load_corpus
from speech.data.examples import ExampleStore
from speech.data.feature_cache import FeatureCache
from speech.model.ctc_transformer import build_model
from strategies import bind

SPLIT = "train"
MANY = (1_000, 34_753)  # the second: the paper's Common Voice, English


def works(folder: Path) -> dict[str, Callable[[], object]]:
    """The stores, and the training."""
    corpus, config = load_corpus("embedded", ""), MODEL_PRESETS["tiny"].features
    written, fresh = folder / "written", folder / "fresh"
    speakers = corpus.speakers(SPLIT)

    def store(where: Path | None) -> ExampleStore:
        disk = FeatureCache(where, corpus, config) if where else None
        return ExampleStore(corpus, config, disk=disk)

    def with_writing() -> None:
        shutil.rmtree(fresh, ignore_errors=True)
        store(fresh).split_examples(SPLIT)

    warm = store(written)
    warm.split_examples(SPLIT)
    trainer = LocalTrainer(build_model("tiny"), RunConfig.from_flat(default_config()).local)
    vector = bind(build_model("tiny", seed=0))[1]

    def train() -> None:
        for speaker in speakers:
            speaker_round = SpeakerRound(run="", round_number=1, speaker=speaker)
            trainer.update(vector, warm.examples(SPLIT, speaker), speaker_round)

    return {
        "computed": lambda: store(None).split_examples(SPLIT),
        "computed and written": with_writing,
        "found on disk": lambda: store(written).split_examples(SPLIT),
        "one pass of local training": train,
    }


def many_files(folder: Path, corpus: Corpus, speakers: int) -> list[tuple[str, ...]]:
    """Write and read the files of so many speakers, each of a tenth of a second; milliseconds a file."""
    features = MODEL_PRESETS["tiny"].features
    cache = FeatureCache(folder / str(speakers), corpus, features)
    of_all = [
        Utterance(
            id=f"u{one}",
            split=SPLIT,
            speaker=f"s{one}",
            audio=folder / f"{one}.flac",
            text="one",
            source="",
        )
        for one in range(speakers)
    ]
    taken: dict[str, float] = {}

    def timed(name: str, work: Callable[[], object]) -> None:
        began = time.perf_counter()
        work()
        taken[name] = time.perf_counter() - began

    def write_all() -> None:
        for one in of_all:
            cache.save(cache.file_of([one]), [torch.zeros(10, features.width)])

    def read_some(some: Sequence[Utterance]) -> None:
        if any(cache.load(cache.file_of([one])) is None for one in some):
            raise SystemExit("a file was not found")

    timed("written", write_all)
    timed("read", lambda: read_some(of_all))
    timed("counted", lambda: sum(path.stat().st_size for path in cache.folder.glob("*/*")))
    return [(f"{speakers:,}", *(f"{1e3 * seconds / speakers:.3f}" for seconds in taken.values()))]


def main() -> None:
    """Measure and write the page beside this file."""
    one_thread()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds = best_seconds(works(folder), repeats=3)
        size = sum(path.stat().st_size for path in folder.glob("written/*/*"))
        corpus = load_corpus("embedded", "")
        many = [row for speakers in MANY for row in many_files(folder, corpus, speakers)]
    examples = ExampleStore(load_corpus("embedded", ""), MODEL_PRESETS["tiny"].features).split_examples(SPLIT)
    speech_seconds = (
        sum(len(example.features) for example in examples) * MODEL_PRESETS["tiny"].features.hop_seconds
    )
    plain = seconds["computed"]
    rows = [("features of the training split", "seconds", "beside computing them")]
    rows += [(name, f"{taken:.3f}", f"{taken / plain:.2f}") for name, taken in seconds.items()]
    text = "\n".join(
        [
            f"# Features on disk: {len(examples)} utterances, {speech_seconds / 60:.1f} minutes of speech",
            "",
            conditions(),
            "",
            table(rows),
            "",
            f"The files hold {size / 1e6:.1f} MB, {size / speech_seconds / 1e3:.1f} kB a second of speech.",
            "What is found on disk is checked against its checksum: every page is read. Best of 3, in turns.",
            "",
            "## A file a speaker, with many speakers",
            "",
            table([("speakers", "ms to write one", "ms to read one", "ms to count one"), *many]),
            "",
            "Each file has a tenth of a second of speech, so that the file is what costs. Counting is what a "
            "process does for the bound on the folder, at most 16 times until it is full.",
        ]
    )
    write(Path(__file__).with_suffix(".md"), text)


if __name__ == "__main__":
    main()
