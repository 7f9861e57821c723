"""A training, from its first step or from a snapshot, to its model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from base.registries import LANGUAGES
from speech.corpora.corpus import Corpus, Skipped
from speech.data.examples import Example
from speech.evaluation.evaluation import Evaluation, evaluate
from speech.model.recogniser import Recogniser
from speech.pretraining.config import PretrainConfig
from speech.pretraining.distributed import Processes
from speech.pretraining.features import OnFeatures, compute_together, open_store, usable
from speech.pretraining.progress import Epoch, Pass, Step
from speech.pretraining.snapshot import Snapshot, Snapshots, load_snapshot, save_snapshot
from speech.pretraining.start import Start, load_trained_state_, trained_state
from speech.pretraining.trainer import Trainer, require_possible
from speech.text import Alphabet, alphabet_of

# An early evaluation must be cheap: it takes this many utterances, spread over the dev set.
EARLY_UTTERANCES = 32


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """The trained model, in evaluation mode, with its passes and the audio that could not be used.

    `epochs` are the passes that ended in this process; after a resumption, without the earlier ones. `kept`
    is the number of the pass that gave the model; `evaluations` are of this model. Its input are activations
    if it was started from its stem.

    Example:
        >>> from speech.model.ctc_transformer import build_model
        >>> model = build_model("tiny", seed=0)
        >>> Pretrained(model=model, epochs=(), kept=1, evaluations={}, skipped=()).kept
        1
    """

    model: Recogniser
    epochs: tuple[Epoch, ...]
    kept: int
    evaluations: Mapping[str, Evaluation]
    skipped: tuple[Skipped, ...]


def pretrain(
    corpus: Corpus,
    config: PretrainConfig,
    *,
    start: Start | None = None,
    processes: Processes | None = None,
    snapshots: Snapshots | None = None,
    feature_folder: Path | None = None,
    on_features: OnFeatures = lambda split, done, of: None,
    on_step: Callable[[Step, Evaluation | None], None] = lambda step, early: None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> Pretrained:
    """Train a model on `config.split`.

    The first process evaluates, keeps the model and makes the calls. The snapshot stays until its owner
    discards it.

    Args:
        corpus: The speech.
        config: The settings.
        start: What to start from; by default the preset with new parameters.
        processes: The processes that train together; by default this one alone.
        snapshots: Where to write the snapshot, and whether to resume from it.
        feature_folder: Features are kept there and mapped into memory, and each process computes a part of
            them.
            Without it every process computes all features in its own memory.
        on_features: Called with each speaker whose features are computed.
        on_step: Called after each step, with the early evaluation on a part of the dev set if one was due.
        on_epoch: Called after each pass.

    Raises:
        CorpusError: For a split that the corpus lacks, or without usable audio.
        CheckpointMismatch: For a snapshot of another training.
        SpeechError: If the training diverges, and for a pre-trained model in several processes.
        ModelError: What making the model raises.
    """
    processes, start = processes or Processes(), start or Start.of_preset(config)
    identity = _identity(corpus, config, processes) | dict(start.identity)
    # Read before the features of the whole corpus are computed.
    snapshot = load_snapshot(snapshots.path, identity) if snapshots and snapshots.resume else None
    model = start.make(corpus.alphabet)
    require_possible(model, processes)
    store = open_store(corpus, model, feature_folder)
    report: OnFeatures = on_features if processes.first else lambda split, done, of: None
    compute_together(store, dict.fromkeys((config.split, *config.held_out)), processes, report)
    held_out = {split: usable(store, split, report) for split in config.held_out}
    devices = [processes.device] if processes.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(config.random_seed + processes.rank)
        trainer = Trainer(model, usable(store, config.split, report), config, processes)
        session = _Session(trainer, held_out)
        if snapshot:
            session.resume(snapshot)
        save = partial(session.save, snapshots, identity) if snapshots else lambda step: None
        epochs = session.run(save, on_step, on_epoch)
    model, evaluations = session.kept()
    return Pretrained(
        model=model,
        epochs=epochs,
        kept=session.best.epoch,
        evaluations=evaluations,
        skipped=store.skipped,
    )


@dataclass(frozen=True, kw_only=True)
class _Best:
    """The pass whose model is kept, its WER on the dev set, and its tensors unless it is the last pass."""

    epoch: int = 0
    wer: float | None = None
    tensors: Mapping[str, Tensor] | None = None


class _Session:
    """A trainer, the evaluation of its model, and the choice of the pass that is kept."""

    def __init__(self, trainer: Trainer, held_out: Mapping[str, Sequence[Example]]) -> None:
        self.trainer, self.held_out = trainer, held_out
        self.config, self.processes = trainer.config, trainer.processes
        self.best = _Best()
        self._last: Mapping[str, Evaluation] = {}

    def run(
        self,
        save: Callable[[Step], None],
        on_step: Callable[[Step, Evaluation | None], None],
        on_epoch: Callable[[Epoch], None],
    ) -> tuple[Epoch, ...]:
        """Run the rest of the training; `save` gets every step as soon as it is done."""
        epochs = []
        for current in self.trainer.passes():
            for step in self.trainer.steps(current):
                save(step)
                early = self._early(step)
                if self.processes.first:
                    on_step(step, early)
            epochs.append(self._epoch(current))
            if self.processes.first:
                on_epoch(epochs[-1])
        return tuple(epochs)

    def save(self, snapshots: Snapshots, identity: Mapping[str, Any], step: Step) -> None:
        """Save a snapshot after `step` if one is due; all processes take part, and the first one writes."""
        if step.number % snapshots.every:
            return
        facts, tensors = self.trainer.state()
        if self.processes.first:
            best = {"epoch": self.best.epoch, "wer": self.best.wer}
            kept = {f"best.{name}": value for name, value in (self.best.tensors or {}).items()}
            save_snapshot(
                snapshots.path,
                Snapshot(identity=identity, facts=facts | {"best": best}, tensors=tensors | kept),
            )

    def resume(self, snapshot: Snapshot) -> None:
        """Continue from `snapshot`."""
        self.trainer.resume(snapshot)
        self.best = _Best(**snapshot.facts["best"], tensors=snapshot.part("best") or None)

    def kept(self) -> tuple[Recogniser, Mapping[str, Evaluation]]:
        """Return the kept model, in evaluation mode and on the CPU, and its evaluations."""
        model, evaluations = self.trainer.model, self._last
        if self.best.tensors is not None:
            load_trained_state_(model, self.best.tensors)
            evaluations = self._evaluated()
        return model.eval().cpu(), evaluations

    def _epoch(self, current: Pass) -> Epoch:
        last, every = self.trainer.is_last(current), self.config.evaluate_every
        due = last or (every > 0 and current.number % every == 0)
        self._last = self._evaluated() if due and self.processes.first else {}
        if self.config.keep == "last":
            self.best = _Best(epoch=current.number)
        elif self._last:
            self._keep_if_better(current.number, self._last[self.config.held_out[0]].wer)
        return Epoch(
            number=current.number,
            loss=current.mean_loss,
            efficiency=current.efficiency,
            cpu_seconds=self.trainer.cpu_seconds,
            seconds=self.trainer.seconds,
            evaluations=self._last,
        )

    def _keep_if_better(self, epoch: int, wer: float) -> None:
        if self.best.wer is None or wer < self.best.wer:
            state = trained_state(self.trainer.model)
            copies = {name: value.to("cpu", copy=True) for name, value in state.items()}
            self.best = _Best(epoch=epoch, wer=wer, tensors=copies)

    def _evaluated(self) -> dict[str, Evaluation]:
        return {split: evaluate(self.trainer.model, examples) for split, examples in self.held_out.items()}

    def _early(self, step: Step) -> Evaluation | None:
        every = self.config.look_every
        if not (self.processes.first and every and step.number % every == 0):
            return None
        dev = self.held_out[self.config.held_out[0]]
        return evaluate(self.trainer.model, dev[:: max(1, len(dev) // EARLY_UTTERANCES)][:EARLY_UTTERANCES])


def _identity(corpus: Corpus, config: PretrainConfig, processes: Processes) -> dict[str, Any]:
    """Return everything that determines the rest of the training."""
    return {
        "corpus": corpus.digest,
        "language": _written(corpus.alphabet),
        "processes": processes.count,
        "device": processes.device.type,
        **config.model_dump(by_alias=True, mode="json"),
    }


def _written(alphabet: Alphabet) -> str:
    """The code of a registered language; for any other, with its characters."""
    registered = alphabet.language in LANGUAGES and alphabet_of(alphabet.language) == alphabet
    return alphabet.language if registered else f"{alphabet.language}: {alphabet.characters}"
