"""Client updates with adapters, beside plain loops: `python -m benchmarks.adapter_training MODEL CORPUS`.

MODEL is a folder of Whisper tiny.en in Hugging Face's layout, CORPUS the folder of a manifest.jsonl with real
speech. A client update is a pass over five sentences of a speaker in one batch, by SGD with a bound on the
gradient: what `recipes/run/whisper-adapt.toml` does with five.

The ways: ours (`client.training.local_training`) with and without the cache of what is frozen; the plain
loop with `transformers`, `peft` and `torch.optim`, its input in memory; and the way of Flower's whisper
example, in its code style: the model's state goes in and out as a list of arrays, a DataLoader gives the
batches, and the encoder runs in evaluation mode without gradients. All have the same sentences in a batch,
the same adapters (A fixed, B trained) and the same input: padded to 30 seconds, or short (the longest of the
batch and half a second). They take turns, one speaker a turn, in one process with one thread. Ratios are of
processor time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from benchmarks.report import Ratio, conditions, one_thread, table, write
from cli.composing import default_config, read_recipe
from client.training.local_training import LocalTrainer
from client.training.model import model_to_train
from client.training.speaker_round import SpeakerRound
from optim.flat_model import layout_of
from recipes import RunConfig
from speech.corpora.corpus import Corpus
from speech.corpora.loading import load_corpus
from speech.data.batching import collate
from speech.data.examples import Example, ExampleStore
from speech.pretrained.transformers_library import transformers

HERE = Path(__file__).resolve().parent
RECIPE = HERE.parent / "recipes" / "run" / "whisper-adapt.toml"
SENTENCES, TURNS = 5, 4
DECODER = "*decoder.layers.*_proj,*decoder.layers.*fc?"
HALF, ALONE = "upper encoder and decoder", "decoder"
OURS, CACHED, PLAIN, FLOWER = "ours, all computed", "ours, frozen part kept", "plain loop", "Flower's example"
AGREE = 0.02  # the updates of two ways may differ by so much of their norm


@dataclass(frozen=True)
class Way:
    """A way to make an update: which one, with which adapters, of which input."""

    name: str
    adapters: str
    window: str


@dataclass(kw_only=True)
class Times:
    """Processor and wall seconds of each turn."""

    processor: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)


class Ours:
    """Local training as a node does it, and the examples of its model."""

    def __init__(self, config: RunConfig, corpus: Corpus, window: str, *, cached: bool) -> None:
        section = config.model.model_copy(update={"window": window, "cache_frozen": cached})
        self.model: Any = model_to_train(section, config.local, corpus.alphabet)
        self.trainer = LocalTrainer(self.model, config.local)
        store = ExampleStore(corpus, self.model.front_end, tokeniser=self.model.tokeniser)
        self.examples: Callable[[str], list[Example]] = lambda speaker: store.examples_of(
            corpus.utterances("train", speaker)[:SENTENCES]
        )
        self.vector = self.trainer._vector.clone()

    def update(self, examples: Sequence[Example]) -> Tensor:
        """One client update (d,)."""
        speaker_round = SpeakerRound(run="benchmark", round_number=1, speaker="one")
        update, _ = self.trainer.update(self.vector, examples, speaker_round)
        return update


class Plain:
    """What one writes with `transformers` and `peft`: the same adapters on the same layers."""

    def __init__(self, folder: Path, ours: Ours, config: RunConfig) -> None:
        self.settings, self.window, self._ours = config.local, ours.model.window, ours
        kind = transformers().WhisperForConditionalGeneration
        base = kind.from_pretrained(folder, dtype=torch.float32)
        import peft  # behind transformers, which must be imported in our way

        names = list(layout_of(ours.model).names)
        targets = [name.removeprefix("base.").removesuffix(".lora_B") for name in names]
        section = config.model
        lora = peft.LoraConfig(
            r=section.adapter_rank, lora_alpha=section.adapter_alpha, target_modules=targets
        )
        self.model: Any = peft.get_peft_model(base, lora).train()
        parameters = dict(self.model.named_parameters())
        for name, target in zip(names, targets, strict=True):
            fixed = parameters[f"base_model.model.{target}.lora_A.default.weight"].requires_grad_(False)
            fixed.data.copy_(ours.model.get_parameter(name.replace("lora_B", "lora_A")))
        self.trained = {
            name: parameters[f"base_model.model.{target}.lora_B.default.weight"]
            for name, target in zip(names, targets, strict=True)
        }
        self.start = {name: value.detach().clone() for name, value in self.trained.items()}

    def inputs(self, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
        """The input (B, mels, T) and the targets (B, L) of a batch, from the features of `Ours`."""
        batch = collate(examples)
        features = batch.features
        if self.window == "padded":
            features = self._ours.model._filled(features, batch.lengths)
        return features.transpose(1, 2).contiguous(), self._ours.model._labels(batch)

    def update(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        """One client update (d,)."""
        for name, value in self.trained.items():
            value.data.copy_(self.start[name])
        optimiser = torch.optim.SGD(self.trained.values(), lr=self.settings.learning_rate)
        features, labels = inputs
        optimiser.zero_grad()
        if self.window == "padded":
            loss = self.model(input_features=features, labels=labels).loss
        else:
            loss = self.model(encoder_outputs=(self.short_states(features),), labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained.values(), self.settings.gradient_clip)
        optimiser.step()
        deltas = [self.start[name] - value.detach() for name, value in self.trained.items()]
        return torch.cat([delta.flatten() for delta in deltas])

    def short_states(self, features: Tensor) -> Tensor:
        """The encoder's states of short input, which its own forward refuses: the positions are cut."""
        encoder = self.model.get_base_model().get_encoder()
        hidden = functional.gelu(encoder.conv1(features))
        hidden = functional.gelu(encoder.conv2(hidden)).transpose(1, 2)
        hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
        for layer in encoder.layers:
            hidden = layer(hidden, None)
        return encoder.layer_norm(hidden)


class FlowerWay(Plain):
    """The plain model, trained in the code style of Flower's whisper example."""

    def get_parameters(self) -> list[np.ndarray]:
        """What is trained, as arrays."""
        return [value.detach().cpu().numpy().copy() for value in self.trained.values()]

    def set_parameters(self, arrays: Sequence[np.ndarray]) -> None:
        """Take the server's arrays."""
        with torch.no_grad():
            for value, array in zip(self.trained.values(), arrays, strict=True):
                value.copy_(torch.from_numpy(array))

    def update(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        """One client update (d,): `fit` of the example, with the loader that it makes each time."""
        start = [value.numpy() for value in self.start.values()]
        self.set_parameters(start)
        features, labels = inputs
        data = [{"data": one, "targets": target} for one, target in zip(features, labels, strict=True)]
        loader = DataLoader(data, batch_size=SENTENCES, shuffle=True)  # type: ignore[arg-type]
        optimiser = torch.optim.SGD(self.trained.values(), lr=self.settings.learning_rate)
        self.train_one_epoch(loader, optimiser)
        new = self.get_parameters()
        return torch.from_numpy(np.concatenate([(a - b).ravel() for a, b in zip(start, new, strict=True)]))

    def train_one_epoch(self, loader: DataLoader, optimiser: torch.optim.Optimizer) -> None:
        """The frozen encoder in evaluation mode without gradients, then what is trained."""
        encoder = self.model.get_base_model().get_encoder()
        encoder.eval()
        for batch in loader:
            data, labels = batch["data"], batch["targets"]
            optimiser.zero_grad()
            with torch.no_grad():
                states = encoder(data)[0]
            loss = self.model(encoder_outputs=(states,), labels=labels).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.trained.values(), self.settings.gradient_clip)
            optimiser.step()


@dataclass(kw_only=True)
class Bench:
    """All ways, and what the cache of a speaker's sentences took, in processor seconds."""

    corpus: Corpus
    ours: dict[Way, Ours] = field(default_factory=dict)
    others: dict[Way, Plain] = field(default_factory=dict)
    caching: dict[Way, list[float]] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path, corpus: Corpus, config: RunConfig) -> Bench:
        """Every way with every input."""
        made = cls(corpus=corpus)
        for name, layers in ((ALONE, DECODER), (HALF, config.model.adapters)):
            section = config.model.model_copy(update={"name": str(folder), "adapters": layers})
            chosen = config.model_copy(update={"model": section})
            for window in ("padded", "short"):
                for way, cached in ((OURS, False), (CACHED, True)):
                    made.ours[Way(way, name, window)] = Ours(chosen, corpus, window, cached=cached)
                whole = made.ours[Way(OURS, name, window)]
                made.others[Way(PLAIN, name, window)] = Plain(folder, whole, chosen)
        whole = made.ours[Way(OURS, ALONE, "padded")]
        with_encoder = config.model.model_copy(update={"name": str(folder), "adapters": DECODER})
        made.others[Way(FLOWER, ALONE, "padded")] = FlowerWay(
            folder, whole, config.model_copy(update={"model": with_encoder})
        )
        return made

    def works(self, speaker: str) -> dict[Way, Callable[[], Tensor]]:
        """One update of a speaker, each way; what each needs is in memory."""
        found: dict[Way, Callable[[], Tensor]] = {}
        for way, one in self.ours.items():
            began = time.process_time()
            examples = one.examples(speaker)
            if way.name == CACHED:
                self.caching.setdefault(way, []).append(time.process_time() - began)
            found[way] = partial(one.update, examples)
            if (plain := self.others.get(Way(PLAIN, way.adapters, way.window))) and way.name == OURS:
                inputs = plain.inputs(examples)
                for other in (PLAIN, FLOWER):
                    if (found_way := Way(other, way.adapters, way.window)) in self.others:
                        found[found_way] = partial(self.others[found_way].update, inputs)
        return found


def measure(bench: Bench, speakers: Sequence[str]) -> dict[Way, Times]:
    """The times of every way, in turns; the first speaker warms up and shows that the updates agree."""
    times: dict[Way, Times] = {}
    for turn, speaker in enumerate(speakers):
        works = bench.works(speaker)
        order = list(works)[turn % len(works) :] + list(works)[: turn % len(works)]
        made = {}
        for way in order:
            began = time.process_time(), time.perf_counter()
            made[way] = works[way]().clone()
            if turn:
                known = times.setdefault(way, Times())
                known.processor.append(time.process_time() - began[0])
                known.wall.append(time.perf_counter() - began[1])
        require_agreement(made)
        print(f"turn {turn} of {len(speakers) - 1}", flush=True)
    return times


def require_agreement(updates: Mapping[Way, Tensor]) -> None:
    """Refuse ways that do not compute the same."""
    for way, update in updates.items():
        plain = updates[Way(PLAIN, way.adapters, way.window)]
        difference = float((update - plain).norm() / plain.norm())
        # Short input is masked in ours, and is not in a plain loop.
        if way.window == "padded" and difference > AGREE:
            raise RuntimeError(f"{way}: its update differs from the plain loop's by {difference:.3f}")


def ratios_of(one: Sequence[float], other: Sequence[float]) -> tuple[float, float, float]:
    """Median, lowest and highest of how many times faster `one` is, turn by turn."""
    found = [b / a for a, b in zip(one, other, strict=True)]
    return statistics.median(found), min(found), max(found)


def rows(times: Mapping[Way, Times]) -> Iterator[tuple[str, ...]]:
    """The table."""
    yield (
        *("adapters", "input", "way", "updates a second of a core"),
        *("beside the plain loop (lowest to highest)", "by the wall clock"),
    )
    for way, found in sorted(times.items(), key=lambda item: _place(item[0])):
        plain = times[Way(PLAIN, way.adapters, way.window)]
        middle, low, high = ratios_of(found.processor, plain.processor)
        wall = ratios_of(found.wall, plain.wall)[0]
        yield (
            *(way.adapters, way.window, way.name, f"{1 / statistics.median(found.processor):.3f}"),
            *(f"{middle:.2f} ({low:.2f} to {high:.2f})", f"{wall:.2f}"),
        )


def _place(way: Way) -> tuple[str, str, int]:
    return way.adapters, way.window, (PLAIN, FLOWER, OURS, CACHED).index(way.name)


def goals(times: Mapping[Way, Times]) -> list[Ratio]:
    """The ratios with the issue's goals, and what short input adds."""
    found = []
    for way, one in sorted(times.items(), key=lambda item: _place(item[0])):
        if way.name not in (OURS, CACHED):
            continue
        least = {"padded": 4.0, "short": 1.8}[way.window] if way == Way(CACHED, ALONE, way.window) else 0.9
        other = times[Way(PLAIN, way.adapters, way.window)]
        value = ratios_of(one.processor, other.processor)[0]
        name = f"{way.name}, adapters in {way.adapters}, {way.window}, beside the plain loop"
        found.append(Ratio(name=name, value=value, at_least=least))
    flower = times[Way(FLOWER, ALONE, "padded")]
    for name in (OURS, CACHED):
        value = ratios_of(times[Way(name, ALONE, "padded")].processor, flower.processor)[0]
        found.append(Ratio(name=f"{name}, adapters in decoder, padded, beside Flower's example", value=value))
    for way in sorted(times, key=_place):
        if way.window == "short":
            padded = times[Way(way.name, way.adapters, "padded")].processor
            value = ratios_of(times[way].processor, padded)[0]
            found.append(Ratio(name=f"{way.name}, {way.adapters}: short beside padded input", value=value))
    return found


def page(bench: Bench, times: Mapping[Way, Times], found: Sequence[Ratio]) -> str:
    """The page of a run."""
    cache = ", ".join(
        f"{way.adapters} {way.window} {statistics.mean(one):.2f}" for way, one in bench.caching.items()
    )
    kept = [("ratio", "measured", "goal", "")]
    kept += [(one.name, f"{one.value:.2f}", one.goal, one.verdict) for one in found]
    versions = f"transformers {version('transformers')}, peft {version('peft')}"
    turns = len(next(iter(times.values())).wall)
    return "\n\n".join(
        [
            "# Client updates of Whisper tiny.en with adapters",
            f"{conditions()}\n- {versions}\n- {SENTENCES} sentences of a speaker an update, one batch; "
            f"{turns} speakers, the ways in turns, one thread",
            table(list(rows(times))),
            "Times are of the processor: other work on the machine changes them little. The ratio of each "
            "turn is within one speaker; shown are the median, the lowest and the highest. The ways of a "
            "group of rows have the same sentences, input and adapters (rank 8, A fixed, B trained). With "
            f"padded input their updates differ by at most {100 * AGREE:g} % of the norm, or the script "
            "stops. The clock on the wall, beside it, saw whatever else the machine did.",
            table(kept),
            "What is kept is computed once, before the first round of a speaker. That took, in processor "
            f"seconds for the sentences of one update, with reading the audio: {cache}. What short input "
            "adds is in the rows 'short beside padded input', and in no other.",
            "`python -m benchmarks.adapter_training MODEL CORPUS` makes this page.",
        ]
    )


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="the folder of Whisper tiny.en")
    parser.add_argument("corpus", type=Path, help="the folder of a manifest.jsonl")
    parser.add_argument("--turns", type=int, default=TURNS)
    given = parser.parse_args()
    one_thread()
    config = RunConfig.from_flat({**default_config(), **read_recipe(RECIPE), "corpus.path": "/"})
    corpus = load_corpus("manifest", str(given.corpus.resolve()))
    bench = Bench.of(given.model.resolve(), corpus, config)
    times = measure(bench, corpus.speakers("train")[: 1 + given.turns])
    found = goals(times)
    write(Path(__file__).with_suffix(".md"), page(bench, times, found), found)


if __name__ == "__main__":
    main()
