"""What beam search and language models bring: WER, CER and speed of each decoder, on speech held out.

    python -m benchmarks.decoding [--digits MANIFEST]

Weights are tuned on a dev split and reported, once, on test. For the synthetic corpus the model is the
shipped seed; dev are 16 of the speakers of 'train', with a language model of sentences that dev does not
say; test are the speakers of 'test', whose sentences no training text has. With --digits, a tiny model
learns from seven eighths of 'train'; dev is the last eighth. Writes benchmarks/decoding.md.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

import murmuration_data
from base.registries import MODEL_PRESETS
from benchmarks.report import conditions, one_thread, table, write
from speech.corpora.corpus import Corpus, Utterance
from speech.corpora.loading import load_corpus
from speech.data.examples import ExampleStore
from speech.decoding import BeamConfig, BeamSearch, Unit, align_words, greedy, train_ngram
from speech.evaluation.error_rates import character_error_rate, word_error_rate
from speech.model.checkpoint import load_model
from speech.model.ctc_transformer import CTCTransformer
from speech.pretraining import PretrainConfig, pretrain
from speech.text import ENGLISH
from speech.transcription.transcriber import Decoder

HERE = Path(__file__).resolve().parent
LM_WEIGHTS = (0.2, 0.35, 0.5, 0.75, 1.0, 1.5)
WORD_BONUSES = (-1.0, 0.0, 1.0, 2.0)
ORDERS: dict[Unit, int] = {"character": 6, "word": 3}


@dataclass(frozen=True)
class UtteranceResult:
    """Log-probabilities (T', outputs) of utterances, and what was said."""

    log_probs: list[Tensor]
    texts: list[str]

    def decoded(self, decoder: Decoder) -> list[str]:
        """One utterance at a time, as `murmur transcribe` does."""
        return [decoder(row[None], torch.tensor([len(row)]))[0] for row in self.log_probs]


def main() -> None:
    """Measure, then write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--digits", type=Path, help="manifest.jsonl of connected digits")
    arguments = parser.parse_args()
    one_thread()
    command = "`python -m benchmarks.decoding --digits MANIFEST`"
    pages = [f"# Decoding\n\n{command}\n\n{conditions()}", synthetic()]
    if arguments.digits:
        pages.append(digits(arguments.digits))
    write(HERE / "decoding.md", "\n\n".join(pages))


def synthetic() -> str:
    """The shipped seed model on the hard domain of the embedded corpus."""
    model = load_model(murmuration_data.path("seed/model.safetensors")).model
    corpus = load_corpus("embedded", "")
    speakers = corpus.speakers("train")[-16:]
    dev = [u for speaker in speakers for u in corpus.utterances("train", speaker)]
    test = utterances(corpus, "test")
    text = [u.text for split in ("seed", "train") for u in utterances(corpus, split)]
    said_in_dev = {u.text for u in dev}
    tuning_text = [sentence for sentence in text if sentence not in said_in_dev]
    return "## Synthetic speakers, the shipped seed model\n\n" + compared(
        transcribed(model, dev), tuning_text, transcribed(model, test), text
    )


def digits(manifest: Path) -> str:
    """A tiny model of six speakers who read digits; test has other recordings of the same speakers."""
    corpus = load_corpus("manifest", manifest)
    train = utterances(corpus, "train")
    kept = [replace(u, split="dev" if number % 8 == 7 else "train") for number, u in enumerate(train)]
    parts = Corpus.of("connected digits", kept)
    config = PretrainConfig(split="train", held_out=("dev",), epochs=3, batch_size=8)
    model = pretrain(parts, config).model
    text = [u.text for u in utterances(parts, "train")]
    return "## Connected digits of six speakers, a tiny model after 3 epochs\n\n" + compared(
        transcribed(model, utterances(parts, "dev")),
        text,
        transcribed(model, utterances(corpus, "test")),
        text,
    )


def compared(
    dev: UtteranceResult, tuning_text: Sequence[str], test: UtteranceResult, text: Sequence[str]
) -> str:
    """A table: each decoder with its weights of dev, on test."""
    rates = "dev WER %", "test WER %", "test CER %"
    rows = [("decoder", "LM weight", "word bonus", *rates, "utterances/CPU s")]
    with tempfile.TemporaryDirectory() as folder:
        for name, decoder in (
            ("greedy", partial(greedy, alphabet=ENGLISH)),
            ("beam 32", BeamSearch(ENGLISH)),
        ):
            dev_rate = word_error_rate(dev.texts, dev.decoded(decoder))
            rows.append((name, "", "", f"{100 * dev_rate:.1f}", *measured(test, decoder)))
        for unit, order in ORDERS.items():
            config, dev_rate = tuned(dev, language_model(Path(folder), unit, tuning_text))
            best = BeamSearch(ENGLISH, config, language_model(Path(folder), unit, text))
            name = f"beam 32, {order}-gram of {unit}s"
            weights = f"{config.lm_weight:g}", f"{config.word_bonus:g}"
            rows.append((name, *weights, f"{100 * dev_rate:.1f}", *measured(test, best)))
    return f"{len(dev.texts)} utterances in dev, {len(test.texts)} in test.\n\n{table(rows)}\n\n" + trust(
        test
    )


def measured(test: UtteranceResult, decoder: Decoder) -> tuple[str, ...]:
    """WER, CER, and speed of decoding on one core, without the model's own work."""
    began = time.process_time()
    texts = test.decoded(decoder)
    speed = len(texts) / (time.process_time() - began)
    rates = word_error_rate(test.texts, texts), character_error_rate(test.texts, texts)
    return *(f"{100 * rate:.1f}" for rate in rates), f"{speed:,.0f}"


def trust(test: UtteranceResult) -> str:
    """Whether greedy words that are sure are right: a word counts as right that the sentence has."""
    right: dict[bool, list[float]] = {True: [], False: []}
    for log_probs, said in zip(test.log_probs, test.texts, strict=True):
        text = greedy(log_probs[None], torch.tensor([len(log_probs)]), ENGLISH)[0]
        for word in align_words(log_probs, text, ENGLISH, frame_seconds=0.04):
            right[word.text in said.split()].append(word.confidence)
    means = {key: sum(values) / max(len(values), 1) for key, values in right.items()}
    pairs = list(itertools.product(right[True], right[False]))
    order = sum((a > b) + 0.5 * (a == b) for a, b in pairs) / max(len(pairs), 1)
    return (
        f"Confidence of greedy words that are in the sentence: {means[True]:.2f} on average "
        f"({len(right[True])} words), of others {means[False]:.2f} ({len(right[False])}); of a pair of the "
        f"two, the right one is surer in {100 * order:.0f} % (AUC)."
    )


def tuned(dev: UtteranceResult, model: Path) -> tuple[BeamConfig, float]:
    """The weights of the grid with the lowest WER on dev, and that WER."""
    grid = [BeamConfig(lm_weight=w, word_bonus=b) for w, b in itertools.product(LM_WEIGHTS, WORD_BONUSES)]
    rates = [word_error_rate(dev.texts, dev.decoded(BeamSearch(ENGLISH, c, model))) for c in grid]
    return min(zip(grid, rates, strict=True), key=lambda pair: pair[1])


def language_model(folder: Path, unit: Unit, text: Iterable[str]) -> Path:
    """An ARPA file of the text."""
    path = folder / f"{unit}.arpa"
    with path.open("w", encoding="utf-8") as file:
        train_ngram(text, file, order=ORDERS[unit], unit=unit, characters=ENGLISH.characters)
    return path


def utterances(corpus: Corpus, split: str) -> list[Utterance]:
    """All of a split."""
    return [u for speaker in corpus.speakers(split) for u in corpus.utterances(split, speaker)]


@torch.inference_mode()
def transcribed(model: CTCTransformer, said: Sequence[Utterance]) -> UtteranceResult:
    """The model's log-probabilities of every utterance."""
    store = ExampleStore(
        Corpus.of("all", (replace(u, split="all") for u in said)), MODEL_PRESETS["tiny"].features
    )
    examples = store.split_examples("all")
    log_probs = [model(e.features[None], torch.tensor([len(e.features)]))[0][0] for e in examples]
    return UtteranceResult(log_probs, [example.text for example in examples])


if __name__ == "__main__":
    main()
