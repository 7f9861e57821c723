"""Client updates a second on a GPU: Whisper tiny and large-v3, and the paper's 255.8 M model.

`python -m benchmarks.pretrained_gpu` takes at most 8 minutes. Nothing is downloaded: the models have random
weights of their sizes. Where there is no GPU, the same code runs at toy size on the CPU in about a minute,
says so and writes no page.

A client update is what the paper's clients do (arXiv 2310.00098): 10 local steps on 120 seconds of audio
each, by `client.training.local_training`, the copy of the update to the CPU included. Whisper trains
adapters in the upper half of its encoder and in its decoder, as `recipes/run/whisper-adapt.toml`; the
paper's model trains all of its parameters. All compute in bfloat16. The paper's model is also compiled,
block by block, which a run with privacy refuses (`local.compile`): that row says what it would give.
Compilation does not reach Whisper's layers.

The share of the peak is that of the rate at which the same GPU, in the same run, multiplies two large
bfloat16 matrices. The hours of the paper's private run are 2,000 rounds of 1,024 clients on one such card.
"""

from __future__ import annotations

import gc
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.paper_model_gpu import SECONDS, UTTERANCES, batch, flops_of, matmul_rate
from benchmarks.report import conditions, table, write
from cli.composing import default_config
from client.training.local_training import LocalTrainer
from client.training.model import model_to_train
from client.training.speaker_round import SpeakerRound
from recipes.model_section import ModelSection
from recipes.sections import LocalSection
from speech.data.batching import collate
from speech.data.examples import Example
from speech.model.recogniser import Recogniser
from speech.pretrained.transformers_library import transformers
from speech.text import ENGLISH

STEPS, UPDATES = 10, 3
ROUNDS, COHORT, PAPERS_HOURS = 2_000, 1_024, 1_120  # the paper's private run took 32 A100 for 35 hours
LIMIT_SECONDS = 420.0  # no new model is begun after that
TOKENS_PER_SECOND = 4
WINDOW_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Size:
    """A Whisper: width, layers of encoder and decoder each, heads, mel channels, vocabulary."""

    width: int
    layers: int
    heads: int
    mels: int
    vocabulary: int


TINY = Size(width=384, layers=4, heads=6, mels=80, vocabulary=51_864)
LARGE = Size(width=1280, layers=32, heads=20, mels=128, vocabulary=51_866)
TOY = Size(width=32, layers=2, heads=2, mels=16, vocabulary=200)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One way: seconds of an update, floating point operations of a step, and the most memory it held."""

    name: str
    update_seconds: float
    flops: int
    steps: int
    peak_bytes: int

    def row(self, rate: float) -> tuple[str, ...]:
        """Its line, on a card of so many operations a second."""
        hours = ROUNDS * COHORT * self.update_seconds / 3600
        return (
            self.name,
            f"{1 / self.update_seconds:.3f}",
            f"{self.flops * self.steps / self.update_seconds / rate:.2f}",
            f"{self.peak_bytes / 1e9:.1f}",
            f"{hours:,.0f}",
        )


def whisper_folder(folder: Path, size: Size) -> Path:
    """Write what describes a Whisper of that size, without weights."""
    config = transformers().WhisperConfig(
        d_model=size.width,
        num_mel_bins=size.mels,
        vocab_size=size.vocabulary,
        **{f"{part}_layers": size.layers for part in ("encoder", "decoder")},
        **{f"{part}_attention_heads": size.heads for part in ("encoder", "decoder")},
        **{f"{part}_ffn_dim": 4 * size.width for part in ("encoder", "decoder")},
        **{f"{one}_token_id": 3 for one in ("bos", "eos", "pad", "decoder_start")},
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    config.save_pretrained(folder)
    settings = {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "chunk_length": WINDOW_SECONDS,
        "feature_size": size.mels,
        "hop_length": 160,
        "n_fft": 400,
        "n_samples": int(WINDOW_SECONDS * 16_000),
        "nb_max_frames": int(WINDOW_SECONDS * 100),
        "sampling_rate": 16_000,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")
    for unused in ("vocab.json", "model.safetensors"):
        (folder / unused).write_text("{}", encoding="utf-8")
    return folder


def section(folder: Path, size: Size, window: str) -> ModelSection:
    """The section `model` with adapters in the upper half of the encoder, and in the decoder."""
    upper = [
        f"*encoder.layers.{n}.{kind}"
        for n in range(size.layers // 2, size.layers)
        for kind in ("*_proj", "fc?")
    ]
    layers = ",".join([*upper, "*decoder.layers.*_proj", "*decoder.layers.*fc?"])
    chosen = {"name": str(folder), "seed": "base", "adapters": layers, "trainable": "adapters"}
    return ModelSection.model_validate(defaults("model") | chosen | {"window": window})


def local(*, compile: bool, steps: int) -> LocalSection:
    """The paper's local work, in bfloat16 on a GPU."""
    given = {
        "epochs": 0,
        "steps": steps,
        "batch-size": UTTERANCES,
        "spec-augment": False,
        "dropout": 0.0,
        "layer-drop": 0.0,
        "precision": "bfloat16",
        "compile": compile,
    }
    return LocalSection.model_validate(defaults("local") | given)


def defaults(name: str) -> dict[str, Any]:
    """A section of the run's default configuration."""
    start = f"{name}."
    return {k.removeprefix(start): v for k, v in default_config().items() if k.startswith(start)}


def whisper_examples(model: Recogniser, size: Size) -> list[Example]:
    """A batch of random features and targets."""
    generator = torch.Generator().manual_seed(0)
    frames = round(SECONDS / model.front_end.hop_seconds)
    found = []
    for row in range(UTTERANCES):
        tokens = torch.randint(4, size.vocabulary, (round(SECONDS * TOKENS_PER_SECOND),), generator=generator)
        features = torch.randn(frames, size.mels, generator=generator)
        found.append(Example(id=str(row), text="", features=features, tokens=tokens, shortest=len(tokens)))
    return found


def preset_examples(preset: str) -> list[Example]:
    """The rows of the batch of `benchmarks.paper_model_gpu`."""
    whole = batch(preset, padded=False)
    tokens = whole.tokens.split(whole.token_lengths.tolist())
    rows = zip(whole.features, tokens, whole.shortest.tolist(), strict=True)
    return [
        Example(id=str(number), text="", features=features, tokens=own, shortest=shortest)
        for number, (features, own, shortest) in enumerate(rows)
    ]


def measure(
    name: str, model: Recogniser, settings: LocalSection, examples: list[Example], flops: int, updates: int
) -> Measured:
    """Warm up by one update, then time some; the median counts."""
    on_gpu = torch.cuda.is_available()
    trainer = LocalTrainer(model, settings)
    start = trainer._vector.to("cpu", copy=True)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    times = []
    for number in range(1 + updates):
        began = time.perf_counter()
        trainer.update(start, examples, SpeakerRound(run="", round_number=1, speaker=str(number)))
        times.append(time.perf_counter() - began)
    return Measured(
        name=name,
        update_seconds=statistics.median(times[1:]),
        flops=flops,
        steps=settings.steps,
        peak_bytes=torch.cuda.max_memory_allocated() if on_gpu else 0,
    )


def whispers(
    sizes: dict[str, Size], place: Path, steps: int, updates: int
) -> Iterator[Callable[[], Measured]]:
    """The ways of every Whisper: short and padded input."""
    for name, size in sizes.items():
        (place / name).mkdir()
        folder = whisper_folder(place / name, size)
        for window in ("short", "padded"):

            def work(name: str = name, size: Size = size, folder: Path = folder, window: str = window) -> Any:
                settings = local(compile=False, steps=steps)
                model = model_to_train(section(folder, size, window), settings, ENGLISH, weights=False)
                examples = whisper_examples(model, size)
                shown = f"Whisper {name}, {window} input, adapters"
                if torch.cuda.is_available():
                    model.cuda()  # counting once is quick there
                flops = counted(model, examples)
                return measure(shown, model, settings, examples, flops, updates)

            yield work


def counted(model: Recogniser, examples: list[Example]) -> int:
    """Floating point operations of a step: forward and backward of what is trained, counted by operation."""
    with FlopCounterMode(display=False) as counter:
        model.objective(collate(examples)).backward()  # type: ignore[no-untyped-call]
    model.zero_grad()
    return counter.get_total_flops()


def presets(preset: str, steps: int, updates: int) -> Iterator[Callable[[], Measured]]:
    """The ways of a preset: compiled or not."""
    for compile in (False, True):

        def work(compile: bool = compile) -> Measured:
            whole = defaults("model") | {"name": preset, "seed": "random"}
            settings = local(compile=compile, steps=steps)
            model = model_to_train(ModelSection.model_validate(whole), settings, ENGLISH)
            flops = flops_of(preset, batch(preset, padded=False))
            name = f"preset {preset}, all parameters{', compiled' if compile else ''}"
            return measure(name, model, settings, preset_examples(preset), flops, updates)

        yield work


def rows(on_gpu: bool) -> list[tuple[str, ...]]:
    """The table; ways for which no time is left are named."""
    began = time.monotonic()
    sizes = {"tiny": TINY, "large-v3": LARGE} if on_gpu else {"toy": TOY}
    steps, updates = (STEPS, UPDATES) if on_gpu else (2, 1)
    device = torch.device("cuda" if on_gpu else "cpu")
    rate = matmul_rate(device, 8192 if on_gpu else 512)
    found = [("model", "client updates a second", "share of the peak", "peak memory, GB", "hours")]
    with tempfile.TemporaryDirectory() as place:
        works = [
            *presets("paper" if on_gpu else "tiny", steps, updates),
            *whispers(sizes, Path(place), steps, updates),
        ]
        for work in works:
            if time.monotonic() - began > LIMIT_SECONDS:
                found.append(("the rest was not measured: the time was over", "", "", "", ""))
                break
            found.append(work().row(rate))
            print(*found[-1], sep=" | ", flush=True)
            gc.collect()
            if on_gpu:
                torch.cuda.empty_cache()
    return found


def main() -> None:
    """Measure, and on a GPU write the page."""
    on_gpu = torch.cuda.is_available()
    if not on_gpu:
        print(
            "No GPU here: toy sizes, 2 steps an update, float32 on the CPU. This shows that the script runs."
        )
    found = rows(on_gpu)
    told = (
        f"A client update: {STEPS} steps on {UTTERANCES} utterances of {SECONDS:g} s. The hours are those "
        f"of the paper's private run ({ROUNDS:,} rounds of {COHORT:,} clients) with this model, on this one "
        f"card, without server and evaluation; the paper itself took {PAPERS_HOURS:,} A100 hours with its "
        "own. A run with privacy refuses compilation."
    )
    if on_gpu:
        title = f"# Client updates on {torch.cuda.get_device_name()}"
        write(Path(__file__).with_suffix(".md"), "\n\n".join([title, conditions(), table(found), told]))
    else:
        print(table(found))


if __name__ == "__main__":
    main()
