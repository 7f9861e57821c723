"""A training from its first step, or from a snapshot, to its model."""

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
from speech.model.ctc_transformer import CTCTransformer, build_model
from speech.pretraining.config import PretrainConfig
from speech.pretraining.distributed import Processes
from speech.pretraining.features import OnFeatures, compute_together, open_store, usable
from speech.pretraining.snapshot import Snapshot, load_snapshot, save_snapshot
from speech.pretraining.trainer import Pass, Step, Trainer
from speech.text import Alphabet, alphabet_of

# An early look is to cost little: these many utterances, spread over the dev set.
LOOKED_AT = 32


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One pass: its mean training loss, the share of its frames that was no padding, and evaluations by
    split, if any. `cpu_seconds` and `seconds` (wall) are those of all steps so far, in this process.
    """

    number: int
    loss: float
    efficiency: float
    cpu_seconds: float
    seconds: float
    evaluations: Mapping[str, Evaluation]


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """The model, in evaluation mode, how it got there, and the audio that could not be used.

    `epochs` are the passes that ended in this process, resumed ones without those before. `kept` is the
    number of the pass after which the model stood so; `evaluations` are of that model.
    """

    model: CTCTransformer
    epochs: tuple[Epoch, ...]
    kept: int
    evaluations: Mapping[str, Evaluation]
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True, kw_only=True)
class Snapshots:
    """Where a training keeps what it needs to be resumed, and after how many steps it does."""

    path: Path
    every: int
    resume: bool = False

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"a snapshot every {self.every} steps: at least 1 is needed.")
        if self.path.exists() and not self.resume:
            raise ValueError(
                f"{self.path} holds a training that was not finished: go on with it by --resume, "
                "or delete it."
            )
        if self.resume and not self.path.is_file():
            raise ValueError(f"{self.path}: no such file, so nothing to resume; start without --resume.")

    def discard(self) -> None:
        """Once the model is safe."""
        self.path.unlink(missing_ok=True)


def pretrain(
    corpus: Corpus,
    config: PretrainConfig,
    *,
    processes: Processes | None = None,
    snapshots: Snapshots | None = None,
    feature_folder: Path | None = None,
    on_features: OnFeatures = lambda split, done, of: None,
    on_step: Callable[[Step, Evaluation | None], None] = lambda step, look: None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> Pretrained:
    """Train a model on `config.split`, calling `on_features`, `on_step` and `on_epoch` in the first process.

    With a `feature_folder` features are kept there and mapped into memory; of several processes each computes
    its share of them. Without one, every process computes all and holds them in its memory.

    With each step goes the early look at a part of the dev set, where one was due. Evaluations, and the
    model that is kept, are the first process's affair; the snapshot stays until its owner discards it.

    Raises `ValueError` for an unknown preset, `CorpusError` for a split that the corpus lacks or that has
    no usable audio, `CheckpointMismatch` for a snapshot of another training, `SpeechError` if training
    diverges.
    """
    processes = processes or Processes()
    identity = _identity(corpus, config, processes)
    # Before the features of the whole corpus are computed.
    snapshot = load_snapshot(snapshots.path, identity) if snapshots and snapshots.resume else None
    store = open_store(corpus, config, feature_folder)
    tell: OnFeatures = on_features if processes.first else lambda split, done, of: None
    compute_together(store, dict.fromkeys((config.split, *config.held_out)), processes, tell)
    held_out = {split: usable(store, split, tell) for split in config.held_out}
    devices = [processes.device] if processes.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        model = build_model(
            config.preset,
            corpus.alphabet,
            seed=config.random_seed,
            dropout=config.dropout,
            layer_drop=config.layer_drop,
        )
        torch.manual_seed(config.random_seed + processes.rank)
        trainer = Trainer(model, usable(store, config.split, tell), config, processes)
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
    """The pass whose model is kept, the WER of its dev set, and the model unless it is the last one."""

    epoch: int = 0
    wer: float | None = None
    tensors: Mapping[str, Tensor] | None = None


class _Session:
    """A trainer, the evaluation of what it makes, and the choice of what is kept."""

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
        """What is left of the training; `save` gets every step as soon as it is done."""
        epochs = []
        for current in self.trainer.passes():
            for step in self.trainer.steps(current):
                save(step)
                look = self._look(step)
                if self.processes.first:
                    on_step(step, look)
            epochs.append(self._epoch(current))
            if self.processes.first:
                on_epoch(epochs[-1])
        return tuple(epochs)

    def save(self, snapshots: Snapshots, identity: Mapping[str, Any], step: Step) -> None:
        """A snapshot after `step`, if one is due; every process takes part, the first one writes."""
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
        """Go on from `snapshot`."""
        self.trainer.resume(snapshot)
        self.best = _Best(**snapshot.facts["best"], tensors=snapshot.part("best") or None)

    def kept(self) -> tuple[CTCTransformer, Mapping[str, Evaluation]]:
        """The model that is kept, in evaluation mode and on the CPU, and what it was evaluated to."""
        model, evaluations = self.trainer.model, self._last
        if self.best.tensors is not None:
            model.load_state_dict(self.best.tensors)
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
            state = self.trainer.model.state_dict()
            copies = {name: value.detach().to("cpu", copy=True) for name, value in state.items()}
            self.best = _Best(epoch=epoch, wer=wer, tensors=copies)

    def _evaluated(self) -> dict[str, Evaluation]:
        return {split: evaluate(self.trainer.model, examples) for split, examples in self.held_out.items()}

    def _look(self, step: Step) -> Evaluation | None:
        every = self.config.look_every
        if not (self.processes.first and every and step.number % every == 0):
            return None
        dev = self.held_out[self.config.held_out[0]]
        return evaluate(self.trainer.model, dev[:: max(1, len(dev) // LOOKED_AT)][:LOOKED_AT])


def _identity(corpus: Corpus, config: PretrainConfig, processes: Processes) -> dict[str, Any]:
    """What a snapshot is of; only with all of it the same would the rest of the training be, too."""
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
