"""Central training on one corpus: how the seed model is made that a federation starts from.

Deterministic: the same corpus, configuration, machine and software give the same model.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field

from speech import augment, features
from speech.batching import Batch, bucketed_batches, collate
from speech.corpus import Corpus, Skipped
from speech.errors import CorpusError, SpeechError
from speech.evaluation import Evaluation, evaluate
from speech.examples import Example, ExampleStore
from speech.loss import ctc_loss
from speech.model import CTCTransformer, build_model

Share = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class PretrainConfig(BaseModel):
    """How to train. In a recipe the keys are written with hyphens."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        populate_by_name=True,
        alias_generator=lambda name: name.replace("_", "-"),
    )

    preset: str = Field(default="tiny", description="a preset of speech/model.py: tiny, small, paper")
    split: str = Field(default="seed", min_length=1, description="split of the corpus to train on")
    held_out: tuple[str, ...] = Field(
        default=("seed-test",), strict=False, description="splits to evaluate on"
    )
    epochs: int = Field(default=20, ge=1, description="passes over the training split")
    batch_size: int = Field(default=6, ge=1, description="utterances per step")
    learning_rate: Positive = Field(default=3e-3, description="peak learning rate of AdamW")
    beta1: BelowOne = Field(default=0.9, description="decay of AdamW's first moment")
    beta2: BelowOne = Field(default=0.98, description="decay of AdamW's second moment")
    weight_decay: float = Field(default=1e-3, ge=0, allow_inf_nan=False, description="AdamW's decay")
    warm_up: Share = Field(default=0.1, description="share of the steps in which the rate rises")
    flat_until: Share = Field(default=0.5, description="share after which it falls, by a cosine, to 0")
    gradient_clip: Positive = Field(default=1.0, description="bound on each step's gradient norm")
    dropout: BelowOne = Field(default=0.05, description="dropout")
    layer_drop: BelowOne = Field(default=0.0, description="probability of leaving out a block")
    spec_augment: bool = Field(default=True, description="hide bands of frequency and time in training")
    evaluate_every: int = Field(
        default=0, ge=0, description="epochs between looks at the held-out splits; 0: only at the end"
    )
    random_seed: int = Field(default=0, ge=0, description="fixes initialisation, order and dropout")


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One pass: its mean training loss, time since the start, and evaluations by split, if any."""

    number: int
    loss: float
    cpu_seconds: float
    evaluations: Mapping[str, Evaluation]


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """The model, in evaluation mode, how it got there, and the audio that could not be used."""

    model: CTCTransformer
    epochs: tuple[Epoch, ...]
    skipped: tuple[Skipped, ...]

    @property
    def evaluations(self) -> Mapping[str, Evaluation]:
        """The finished model on the held-out splits."""
        return self.epochs[-1].evaluations


def pretrain(
    corpus: Corpus,
    config: PretrainConfig,
    *,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> Pretrained:
    """Train a fresh model on `config.split`, calling `on_epoch` after every pass.

    Raises `ValueError` for an unknown preset, `CorpusError` for a split that the corpus lacks or
    that has no usable audio, `SpeechError` if training diverges.
    """
    model = build_model(
        config.preset,
        corpus.language,
        seed=config.random_seed,
        dropout=config.dropout,
        layer_drop=config.layer_drop,
    )
    store = ExampleStore(corpus, features.PRESETS[config.preset])
    held_out = {split: _usable(store, split) for split in config.held_out}
    training = _usable(store, config.split)
    epochs: list[Epoch] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.random_seed)
        trainer = _Trainer(model, training, config)
        for number in range(1, config.epochs + 1):
            loss = trainer.train_epoch()
            due = number == config.epochs or (
                config.evaluate_every > 0 and number % config.evaluate_every == 0
            )
            epochs.append(
                Epoch(
                    number=number,
                    loss=loss,
                    cpu_seconds=trainer.cpu_seconds,
                    evaluations={
                        split: evaluate(model, examples)
                        for split, examples in (held_out.items() if due else ())
                    },
                )
            )
            on_epoch(epochs[-1])
    return Pretrained(model=model.eval(), epochs=tuple(epochs), skipped=store.skipped)


class _Trainer:
    """AdamW over a fixed number of steps; holds what changes from step to step."""

    def __init__(self, model: CTCTransformer, examples: list[Example], config: PretrainConfig) -> None:
        self.model, self.examples, self.config = model, examples, config
        self.optimiser = torch.optim.AdamW(
            model.parameters(),
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.generator = torch.Generator().manual_seed(config.random_seed)
        self.spec_augment = augment.PRESETS[config.preset] if config.spec_augment else None
        self.steps = config.epochs * math.ceil(len(examples) / config.batch_size)
        self.step = 0
        self.cpu_seconds = 0.0

    def train_epoch(self) -> float:
        """One pass over the examples; returns the mean loss in nats per utterance."""
        started = time.process_time()
        self.model.train()
        lengths = [len(example.features) for example in self.examples]
        total = 0.0
        for indices in bucketed_batches(lengths, self.config.batch_size, self.generator):
            total += self._step(collate([self.examples[i] for i in indices])) * len(indices)
        self.cpu_seconds += time.process_time() - started
        return total / len(self.examples)

    def _step(self, batch: Batch) -> float:
        loss = ctc_loss(self.model, self._augmented(batch))
        value = loss.item()
        if not math.isfinite(value):
            raise SpeechError(
                f"training diverged: the loss is {value} at step {self.step + 1} of {self.steps}; "
                f"lower learning-rate ({self.config.learning_rate:g})."
            )
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
        # Neither the first step nor the last is wasted on a rate of 0.
        scale = learning_rate_scale((self.step + 1) / (self.steps + 1), self.config)
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * scale
        self.optimiser.step()
        self.step += 1
        return value

    def _augmented(self, batch: Batch) -> Batch:
        if self.spec_augment is None:
            return batch
        masked = self.spec_augment(batch.features, batch.lengths, self.generator)
        return batch.with_features(masked)


def learning_rate_scale(progress: float, config: PretrainConfig) -> float:
    """The share of the peak rate after `progress` (0 to 1): up, flat, then down by a cosine."""
    if progress < config.warm_up:
        return progress / config.warm_up
    if progress <= config.flat_until:
        return 1.0
    fallen = (progress - config.flat_until) / (1 - config.flat_until)
    return (1 + math.cos(math.pi * fallen)) / 2


def _usable(store: ExampleStore, split: str) -> list[Example]:
    examples = store.split_examples(split)
    if not examples:
        raise CorpusError(
            f"{store.corpus.name}: no utterance of split {split!r} has usable audio; the first: "
            f"{store.skipped[0].reason}"
        )
    return examples
