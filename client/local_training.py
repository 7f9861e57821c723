"""Local training of one speaker from the round's model, and the update "old minus new".

Stateless, as in the paper (Algorithm 1): nothing of a speaker outlives the call, the local optimiser's
state included. Parameters and gradients are views into flat buffers made once, so clipping is one norm
and a step is that of an optimiser on a vector.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from recipes.run_config import LocalSection
from speech.augment import PRESETS as AUGMENTS
from speech.batching import bucketed_batches, collate
from speech.examples import Example
from speech.loss import ctc_loss
from speech.model import build_model
from strategies.optimisers import make_optimiser, settings_of
from strategies.vector import bind, bind_gradients


class LocalTrainer:
    """A model with flat buffers that any number of speakers are trained in, one after the other."""

    def __init__(
        self, preset: str, settings: LocalSection, *, language: str = "en", room_for: int = 0
    ) -> None:
        self.settings = settings
        self._augment = AUGMENTS[preset]
        self._model = build_model(preset, language).train()
        self.layout, self._vector = bind(self._model)
        self._gradients = bind_gradients(self._model, self.layout)
        self._update = torch.zeros(self.layout.size + room_for)
        wanted = {name: getattr(settings, name) for name in settings_of(settings.optimiser)}
        self._steps = 0
        self._optimiser = make_optimiser(settings.optimiser, **wanted)

    def reserve(self, size: int) -> None:
        """Let updates have `size` entries from now on; those after the model's stay zero."""
        if len(self._update) != size:
            self._update = torch.zeros(size)

    def update(
        self,
        vector: Tensor,
        examples: Sequence[Example],
        order: tuple[int, int],
        correction: Tensor | None = None,
    ) -> tuple[Tensor, float]:
        """Train on one speaker's `examples` from the global `vector` (d,).

        `order` (round, speaker number) fixes the order of the batches and what is hidden in them;
        `correction` (d,) is added to every clipped gradient (SCAFFOLD).

        Returns the update (d, then zeros where there is room), a buffer that the next call overwrites,
        and the mean training loss.
        """
        self._vector.copy_(vector)
        self._optimiser.load_state_dict({})
        generator = torch.Generator().manual_seed(hash(order) & 0x7FFF_FFFF_FFFF_FFFF)
        losses = [
            self._step([examples[index] for index in batch], vector, generator, correction)
            for batch in self._batches(examples, generator)
        ]
        torch.sub(vector, self._vector, out=self._update[: self.layout.size])
        self._steps = len(losses)
        return self._update, sum(losses) / len(losses)

    def mean_step(self) -> Tensor:
        """The last update (d,) over its steps and learning rate: plain SGD's mean gradient."""
        return self._update[: self.layout.size] / (self._steps * self.settings.learning_rate)

    def _batches(self, examples: Sequence[Example], generator: torch.Generator) -> Iterator[list[int]]:
        """`epochs` passes, or `steps` batches from as many passes as that takes."""
        lengths = [len(example.features) for example in examples]
        passes = (bucketed_batches(lengths, self.settings.batch_size, generator) for _ in itertools.count())
        if self.settings.epochs:
            return itertools.chain.from_iterable(itertools.islice(passes, self.settings.epochs))
        return itertools.islice(itertools.chain.from_iterable(passes), self.settings.steps)

    def _step(
        self,
        examples: list[Example],
        start: Tensor,
        generator: torch.Generator,
        correction: Tensor | None,
    ) -> float:
        """One step; the norm of the local objective's gradient is clipped (paper: C_loc)."""
        batch = collate(examples)
        if self.settings.spec_augment:
            hidden = self._augment(batch.features, batch.lengths, generator)
            batch = batch.with_features(hidden)
        self._gradients.zero_()
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
            moved = torch.sub(self._vector, start, out=self._update[: self.layout.size])
            self._gradients.add_(moved, alpha=self.settings.proximal_mu)
