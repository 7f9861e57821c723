"""What features on disk cost and save, on the embedded corpus: `python -m benchmarks.feature_cache`.

Compared in one run: a store that computes its features, one that also writes them, one that finds them
written, and a pass of local training over the same speakers, to see the others beside it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from base.registries import MODEL_PRESETS
from benchmarks.report import best_seconds, conditions, one_thread, table, write
from cli.composing import default_config
from client.training.local_training import LocalTrainer
from client.training.speaker_round import SpeakerRound
from recipes import RunConfig
from speech.corpora.loading import load_corpus
from speech.data.examples import ExampleStore
from speech.data.feature_cache import FeatureCache
from speech.model.ctc_transformer import build_model
from strategies import bind

SPLIT = "train"


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


def main() -> None:
    """Measure and write the page beside this file."""
    one_thread()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds = best_seconds(works(folder), repeats=3)
        size = sum(path.stat().st_size for path in folder.glob("written/*/*"))
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
        ]
    )
    write(Path(__file__).with_suffix(".md"), text)


if __name__ == "__main__":
    main()
