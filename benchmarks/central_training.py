"""Central training from nothing on real voices: what it learns, what that costs, what padding costs.

    python -m benchmarks.central_training SPEECH

`SPEECH` holds fsdd-connected/, speechocean762-mini/ and LibriSpeech/, corpora that are not ours to ship:
made from the Free Spoken Digit Dataset, speechocean762 and LibriSpeech (see docs/corpora.md). Writes what
happened to benchmarks/central_training.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from base.registries import MODEL_PRESETS
from benchmarks.report import conditions, one_thread, table, write
from cli.pretrain.recipe import read_recipe
from speech.corpora.corpus import Corpus
from speech.corpora.loading import load_corpus
from speech.data.batching import BatchLimit
from speech.data.examples import ExampleStore
from speech.evaluation.evaluation import evaluate
from speech.pretraining import Epoch, PretrainConfig, Pretrained, Snapshots, pretrain

HERE = Path(__file__).resolve().parent
RECIPE = HERE.parent / "recipes" / "pretrain" / "digits.toml"
HOP_SECONDS = MODEL_PRESETS["tiny"].features.hop_seconds


def main() -> None:
    """Train on two corpora, evaluate on a third, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("speech", type=Path, help="the folder of corpora")
    folder: Path = parser.parse_args().speech
    one_thread()
    config = read_recipe(RECIPE).pretrain.model_copy(update={"evaluate_every": 1, "look_every": 0})
    strings = load_corpus("manifest", folder / "fsdd-connected" / "manifest.jsonl")
    digits, digits_page = trained(strings, config)
    sentences = load_corpus("manifest", folder / "speechocean762-mini" / "manifest.jsonl")
    read, sentences_page = trained(sentences, config)
    books = load_corpus("librispeech", folder / "LibriSpeech")
    write(
        HERE / "central_training.md",
        f"# Central training\n\n`python -m benchmarks.central_training SPEECH`\n\n{conditions()}\n"
        "- CPU seconds are those of the steps, the evaluations left out; other work shared the machine\n\n"
        f"## Digit strings, real voices (recipes/pretrain/digits.toml)\n\n{digits_page}\n\n"
        "The study this project began with: 46.1 / 22.2 / 11.0 % WER after 2 / 4 / 6 epochs, in 25 / 53 / 80 "
        "CPU seconds.\n\n"
        f"## Read sentences of 32 speakers, the same recipe\n\n{sentences_page}\n\n"
        f"## LibriSpeech's own layout\n\n{evaluated(books, {'digits': digits, 'sentences': read})}\n\n"
        f"## What padding costs\n\n{padding({'digits': lengths(strings), 'books': lengths(books)})}\n\n"
        f"## What a snapshot costs\n\n{snapshot_cost(sentences, config)}",
    )


def trained(corpus: Corpus, config: PretrainConfig) -> tuple[Pretrained, str]:
    """Train, showing each pass, and a table of all passes."""
    found = pretrain(corpus, config, on_epoch=lambda epoch: print(row(epoch), flush=True))
    heading = ("epoch", "training loss", "WER %", "CER %", "CPU seconds", "wall seconds", "padding %")
    return found, table([heading, *map(row, found.epochs)])


def row(epoch: Epoch) -> tuple[str, ...]:
    """A pass in figures."""
    (evaluation,) = epoch.evaluations.values()
    figures = (epoch.loss, 100 * evaluation.wer, 100 * evaluation.cer, epoch.cpu_seconds, epoch.seconds)
    return (
        str(epoch.number),
        *(f"{figure:.1f}" for figure in figures),
        f"{100 * (1 - epoch.efficiency):.1f}",
    )


def evaluated(corpus: Corpus, models: dict[str, Pretrained]) -> str:
    """Models on speech of a kind that they were not trained on: the loader and the evaluation at work."""
    began = time.process_time()
    examples = ExampleStore(corpus, MODEL_PRESETS["tiny"].features).split_examples("test")
    features_seconds = time.process_time() - began
    audio = HOP_SECONDS * sum(len(example.features) for example in examples)
    rows = [("model", "loss", "WER %", "CER %", "CPU seconds")]
    for name, model in models.items():
        began = time.process_time()
        found = evaluate(model.model, examples)
        figures = (found.loss, 100 * found.wer, 100 * found.cer, time.process_time() - began)
        rows.append((name, *(f"{figure:.1f}" for figure in figures)))
    return (
        f"{len(corpus.speakers('test'))} speakers, {len(examples)} utterances, {audio / 60:.1f} minutes, "
        f"{len(corpus.skipped)} skipped; decoding the FLAC files and computing features took "
        f"{features_seconds:.1f} CPU seconds. Neither model was trained on such speech: this shows that "
        f"loader and evaluation work, not that the models do.\n\n{table(rows)}"
    )


def lengths(corpus: Corpus) -> list[int]:
    """Frames of every utterance, by what the corpus says of its duration."""
    return [
        round(utterance.duration_seconds / HOP_SECONDS)
        for split in corpus.splits
        for speaker in corpus.speakers(split)
        for utterance in corpus.utterances(split, speaker)
        if utterance.duration_seconds
    ]


def padding(corpora: dict[str, list[int]]) -> str:
    """Padding and the largest batch, for batches drawn at random, by length, and by seconds of audio."""
    rows = [("corpus", "batches", "utterances in one", "padding %", "largest, seconds with padding")]
    for name, frames in corpora.items():
        mean_seconds = 8 * HOP_SECONDS * sum(frames) / len(frames)
        order = torch.randperm(len(frames), generator=torch.Generator().manual_seed(0)).tolist()
        ways = {
            "8 at random": [order[at : at + 8] for at in range(0, len(order), 8)],
            "8 of like length": drawn(frames, BatchLimit(utterances=8)),
            f"{mean_seconds:.0f} s": drawn(frames, BatchLimit(seconds=mean_seconds)),
        }
        rows += [(name, way, *padding_row(frames, batches)) for way, batches in ways.items()]
    return table(rows)


def drawn(frames: Sequence[int], limit: BatchLimit) -> list[list[int]]:
    """A pass as the training draws it."""
    return limit.batches(frames, HOP_SECONDS, torch.Generator().manual_seed(0))


def padding_row(frames: Sequence[int], batches: list[list[int]]) -> tuple[str, str, str]:
    """Sizes, share of padding and largest batch."""
    padded = [max(frames[i] for i in batch) * len(batch) for batch in batches]
    sizes = [len(batch) for batch in batches]
    wasted = 1 - sum(frames) / sum(padded)
    return f"{min(sizes)} to {max(sizes)}", f"{100 * wasted:.1f}", f"{HOP_SECONDS * max(padded):.0f}"


def snapshot_cost(corpus: Corpus, config: PretrainConfig) -> str:
    """Steps with a snapshot after each against steps without, in turns of one pass."""
    short = config.model_copy(update={"epochs": 1, "held_out": ()})
    seconds = {"no snapshots": float("inf"), "a snapshot after every step": float("inf")}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            for name in seconds:
                keep = Snapshots(path=Path(folder) / "snapshot", every=1) if name.startswith("a") else None
                began = time.process_time()
                pretrain(corpus, short, snapshots=keep)
                seconds[name] = min(seconds[name], time.process_time() - began)
                if keep:
                    keep.discard()
    plain, kept = seconds.values()
    return (
        f"A pass over the sentences (features included) with a snapshot after every step costs "
        f"{kept / plain:.2f} times the CPU seconds of one without; the default is one after every 500 steps."
    )


if __name__ == "__main__":
    main()
