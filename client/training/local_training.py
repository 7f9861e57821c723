"""Local training of one speaker from the round's model, and the update "old minus new".

Stateless, as in the paper (Algorithm 1): nothing of a speaker outlives the call, the local optimiser's
state included, and all that is random comes from the visit (`client.training.speaker_round`). Parameters and
gradients are views into flat buffers made once, so clipping is one norm and a step is that of an optimiser on
a vector. On a GPU, where there is one, these buffers lie there; the round's model comes from the CPU and the
update goes back to it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from base.registries import MODEL_PRESETS
from client.training.process import Trained
from client.training.speaker_round import SpeakerRound
from optim import make_optimiser, settings_of
from optim.base import BLOCK
from optim.flat_model import bind, bind_gradients
from optim.trainable import freeze, frozen_digest
from recipes.sections import TRAIN_ALL, LocalSection
from speech.data.batching import Batch, BatchLimit, collate
from speech.data.examples import Example
from speech.features.spec_augment import make_augment
from speech.model.checkpoint import load_model
from speech.model.compute import Compute
from speech.model.ctc_transformer import build_model
from speech.model.loss import ctc_loss
from speech.text import ENGLISH, Alphabet


class LocalTrainer:
    """A model with flat buffers that any number of speakers are trained in, one after the other.

    It computes on a GPU if there is one, unless `device` names another place. `trainable` names what is
    trained; the rest is that of the model file `seed`, and `frozen` is its digest. Updates go to `memory`
    (d or longer,), by default the trainer's own (d,); what is behind the model's entries is left alone.
    """

    def __init__(
        self,
        preset: str,
        settings: LocalSection,
        *,
        language: str | Alphabet = ENGLISH,
        memory: Tensor | None = None,
        device: str | None = None,
        trainable: str = TRAIN_ALL,
        seed: Path | None = None,
    ) -> None:
        self.settings = settings
        self._augment = make_augment(MODEL_PRESETS[preset].augment, settings)
        self._compute = Compute.choose(precision=settings.precision, compile=settings.compile, device=device)
        self._model = build_model(
            preset, language, dropout=settings.dropout, layer_drop=settings.layer_drop
        ).train()
        if seed is not None:
            self._model.load_state_dict(load_model(seed, preset=preset, language=language).model.state_dict())
        freeze(self._model, trainable)
        self.frozen = frozen_digest(self._model)
        self._compute.place(self._model)
        self._batch_limit = BatchLimit(utterances=settings.batch_size, seconds=settings.batch_seconds)
        self._hop_seconds = MODEL_PRESETS[preset].features.hop_seconds
        self.layout, self._vector = bind(self._model)
        self._update = torch.zeros(self.layout.size) if memory is None else memory
        self._gradients = bind_gradients(self._model, self.layout, self._gradient_memory())
        wanted = {name: getattr(settings, name) for name in settings_of(settings.optimiser)}
        self._optimiser = make_optimiser(settings.optimiser, **wanted)

    def _gradient_memory(self) -> Tensor:
        """An update takes the memory of the gradients, which nobody needs when it is made; not on a GPU."""
        return torch.empty_like(self._vector) if self._vector.is_cuda else self._update[: self.layout.size]

    def update(
        self,
        vector: Tensor,
        examples: Sequence[Example],
        visit: SpeakerRound,
        correction: Tensor | None = None,
    ) -> tuple[Tensor, Trained]:
        """Train on one speaker's `examples` from the global `vector` (d,).

        `visit` fixes the order of the batches, what is hidden in them and what is dropped; `correction` (d,)
        is added to every clipped gradient (SCAFFOLD).

        Returns the memory of updates, whose first d entries are the update until the next call, and what
        else there is to say of the visit.
        """
        device = self._vector.device
        start = vector.to(device)
        correction = None if correction is None else correction.to(device)
        self._vector.copy_(start)
        self._optimiser.load_state_dict({})
        generator = visit.generator("training")
        with torch.random.fork_rng(devices=[device] if self._vector.is_cuda else []):
            self._seed(generator.initial_seed())
            losses = [
                self._step(self._batch([examples[i] for i in batch], visit, generator), start, correction)
                for batch in self._batches(examples, generator)
            ]
        torch.sub(start, self._vector, out=self._gradients)
        if self._vector.is_cuda:
            self._update[: self.layout.size].copy_(self._gradients)
        return self._update, Trained(loss=sum(losses) / len(losses), steps=len(losses))

    def warm_up(self, example: Example) -> None:
        """A step on an example that is nobody's: what torch does once is done then."""
        self._vector.zero_()
        self._step(collate([example]), self._vector.clone(), None)

    def _seed(self, seed: int) -> None:
        """`torch.manual_seed` without its note for a GPU that is not there: a hundredth of a visit."""
        torch.default_generator.manual_seed(seed)
        if self._vector.is_cuda:
            torch.cuda.manual_seed(seed)

    def _batches(self, examples: Sequence[Example], generator: torch.Generator) -> Iterator[list[int]]:
        """`epochs` passes, or `steps` batches from as many passes as that takes."""
        lengths = [len(example.features) for example in examples]
        limit = self._batch_limit
        passes = (limit.batches(lengths, self._hop_seconds, generator) for _ in itertools.count())
        if self.settings.epochs:
            return itertools.chain.from_iterable(itertools.islice(passes, self.settings.epochs))
        return itertools.islice(itertools.chain.from_iterable(passes), self.settings.steps)

    def _batch(self, examples: Sequence[Example], visit: SpeakerRound, generator: torch.Generator) -> Batch:
        """One batch, with bands of it hidden if it is time for that."""
        batch = collate(examples)
        if self._augment is None or visit.round_number <= self.settings.spec_augment_after:
            return batch
        return batch.with_features(self._augment(batch.features, batch.lengths, generator))

    def _step(self, batch: Batch, start: Tensor, correction: Tensor | None) -> float:
        """One step; the norm of the local objective's gradient is clipped (paper: C_loc)."""
        self._gradients.zero_()
        with self._compute.autocast():
            loss = ctc_loss(self._model, batch)
        loss.backward()
        self._pull_towards(start)
        norm = float(self._gradients.norm())
        if norm > self.settings.gradient_clip:
            self._gradients.mul_(self.settings.gradient_clip / norm)
        if correction is not None:
            self._gradients.add_(correction)
        self._optimiser.step_(self._vector, self._gradients, self.settings.learning_rate)
        return float(loss.detach())

    def _pull_towards(self, start: Tensor) -> None:
        """FedProx (Li et al. 2020): the gradient mu (w - w0) of mu/2 |w - w0|^2, w0 the round's model."""
        if self.settings.proximal_mu:
            for gradients, weights, before in zip(
                *(one.split(BLOCK) for one in (self._gradients, self._vector, start)), strict=True
            ):
                gradients.add_(weights - before, alpha=self.settings.proximal_mu)
