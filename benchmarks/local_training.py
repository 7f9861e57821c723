"""Local training against a plain PyTorch loop: `python -m benchmarks.local_training`.

The goal: 1.3 times the plain loop's utterances per second and core, for `tiny` on the embedded corpus, by
cached features, bucketing, no waste in a step. The plain loop is `plain_update`, as one would write it: the
same model, loss, SpecAugment and number of steps; batches at random; `load_state_dict`, `torch.optim.SGD`,
`clip_grad_norm_`; the update as a dictionary; features in each round, as a data loader has them. A second one
has its features in memory, as ours do: what is left then is the step.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from base.registries import MODEL_PRESETS
from benchmarks.report import Ratio, best_seconds, conditions, one_thread, table, write
from benchmarks.simulation_speakers import PRESET, config, first_vector, speakers, trainer
from client.training.speaker_round import SpeakerRound
from speech.corpora.loading import load_corpus
from speech.data.batching import collate
from speech.data.examples import Example, ExampleStore
from speech.features.spec_augment import make_augment
from speech.model.ctc_transformer import CTCTransformer, build_model

SPEAKERS, REPEATS = 16, 6
PLAIN = "plain, features in each round"
LOCAL = config().local
AUGMENT = make_augment(MODEL_PRESETS[PRESET].augment, LOCAL)


def plain_update(
    model: CTCTransformer, start: dict[str, Tensor], examples: list[Example]
) -> dict[str, Tensor]:
    """One speaker's update, the plain way: old minus new by name."""
    model.load_state_dict(start)
    optimiser = torch.optim.SGD(model.parameters(), lr=LOCAL.learning_rate)
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(examples), generator=generator).tolist()
    for begin in range(0, len(order), LOCAL.batch_size):
        batch = collate([examples[index] for index in order[begin : begin + LOCAL.batch_size]])
        batch = batch.with_features(AUGMENT(batch.features, batch.lengths, generator))
        optimiser.zero_grad()
        model.objective(batch).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), LOCAL.gradient_clip)
        optimiser.step()
    return {name: start[name] - value for name, value in model.state_dict().items()}


def works() -> dict[str, Callable[[], object]]:
    """The same speakers, each way."""
    vector, ours = first_vector(), trainer()
    model = build_model(PRESET, seed=0).train()
    start = {name: value.clone() for name, value in model.state_dict().items()}
    chosen = speakers()[:SPEAKERS]
    corpus = load_corpus("embedded", "")
    names = corpus.speakers("train")[:SPEAKERS]

    def train() -> None:
        for number, examples in enumerate(chosen):
            ours.update(vector, examples, SpeakerRound(run="", round_number=1, speaker=str(number)))

    def plain() -> None:
        for examples in chosen:
            plain_update(model, start, examples)

    def plain_with_features() -> None:
        store = ExampleStore(corpus, MODEL_PRESETS[PRESET].features)
        for name in names:
            plain_update(model, start, store.examples("train", name))

    return {PLAIN: plain_with_features, "the same, its features in memory": plain, "ours": train}


def main() -> None:
    """Measure and write the page."""
    one_thread()
    clocks = {
        name: best_seconds(works(), REPEATS, clock=clock)
        for name, clock in (("processor", time.process_time), ("wall", time.perf_counter))
    }
    utterances = sum(map(len, speakers()[:SPEAKERS]))
    processor, wall = clocks["processor"], clocks["wall"]
    rows = [
        ("local training", "utterances a second of a core", "beside plain", "by the wall clock, beside plain")
    ]
    for name in processor:
        rows.append(
            (
                name,
                f"{utterances / processor[name]:.0f}",
                f"{processor[PLAIN] / processor[name]:.2f}",
                f"{wall[PLAIN] / wall[name]:.2f}",
            )
        )
    *others, ours = processor.values()
    ratios = [
        Ratio(name=f"local training, beside {name}", value=seconds / ours, at_least=1.3)
        for name, seconds in zip(processor, others, strict=False)
    ]
    text = "\n".join(
        [
            f"# Local training of {SPEAKERS} speakers, {utterances} utterances, "
            f"batches of {LOCAL.batch_size}",
            "",
            conditions(),
            "",
            table(rows),
            "",
            f"Processor time, best of {REPEATS}, in turns. The goal is 1.3 times the plain loop.",
            "",
            *(f"- {one.name}: {one.value:.2f}, {one.verdict}" for one in ratios),
        ]
    )
    write(Path(__file__).with_suffix(".md"), text, ratios)


if __name__ == "__main__":
    main()
