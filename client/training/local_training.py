"""Local training of one speaker from the round's model; the result is the update "old minus new".

Stateless, as in the paper (Algorithm 1): nothing of a speaker is left after the call, the local optimiser's
state included. All that is random comes from the speaker round (`client.training.speaker_round`). Parameters
and gradients are views into flat buffers that are made once, so clipping is one norm and a step is one step
of an optimiser on a vector. If there is a GPU, these buffers are on it; the round's model comes from the CPU
and the update goes back to it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from base.clip_groups import ONE_GROUP, ClipGroups
from client.training.algorithms import local_algorithm
from client.training.process_messages import Trained
from client.training.speaker_round import SpeakerRound
from optim import make_optimiser, settings_of
from optim.flat_model import bind, bind_gradients
from optim.trainable import frozen_digest
from recipes.sections import LocalSection
from speech.data.batching import Batch, BatchLimit, collate
from speech.data.examples import Example
from speech.features.spec_augment import make_augment
from speech.micro_batches import BATCH, ClippedMean, parts_of
from speech.model.compute import Compute
from speech.model.recogniser import Recogniser


class LocalTrainer:
    """A model with flat buffers that trains any number of speakers, one after the other.

    Args:
        model: The model, with what is not trained frozen; `frozen` is the digest of that.
        settings: The run's `local` section.
        memory: Where updates go (d or longer,), by default memory of the trainer's own (d,). The entries
            behind the first d are left alone.
        device: "cpu" or "cuda"; by default a GPU if there is one.
        clip_groups: The run's clip groups, which order the vector.
    """

    def __init__(
        self,
        model: Recogniser,
        settings: LocalSection,
        *,
        memory: Tensor | None = None,
        device: str | None = None,
        clip_groups: ClipGroups = ONE_GROUP,
    ) -> None:
        self.settings, self._model = settings, model.train()
        self._augment = make_augment(model.augment, settings)
        self._compute = Compute.choose(precision=settings.precision, compile=settings.compile, device=device)
        self.frozen = frozen_digest(model)
        self._compute.place(self._model)
        self._batch_limit = BatchLimit(utterances=settings.batch_size, seconds=settings.batch_seconds)
        self._hop_seconds = model.front_end.hop_seconds
        self.layout, self._vector = bind(self._model, clip_groups, constant_buffers=True)
        self._buffers = {name: value.clone() for name, value in model.named_buffers()}
        self._update = torch.zeros(self.layout.size) if memory is None else memory
        self._gradients = bind_gradients(self._model, self.layout, self._gradient_memory())
        whole = settings.clip == BATCH
        self._mean = None if whole else ClippedMean.of(settings, [self._gradients], settings.gradient_clip)
        wanted = {name: getattr(settings, name) for name in settings_of(settings.optimiser)}
        self._optimiser = make_optimiser(settings.optimiser, **wanted)
        self._algorithm = local_algorithm(settings)

    def _gradient_memory(self) -> Tensor:
        """The memory of the update: the gradients are not needed any more when it is made (not on a GPU)."""
        return torch.empty_like(self._vector) if self._vector.is_cuda else self._update[: self.layout.size]

    def update(
        self,
        vector: Tensor,
        examples: Sequence[Example],
        speaker_round: SpeakerRound,
        correction: Tensor | None = None,
    ) -> tuple[Tensor, Trained]:
        """Train on one speaker's `examples`.

        Args:
            vector: The round's model (d,), from which training starts.
            examples: The speaker's utterances.
            speaker_round: Seeds the order of the batches, masks and dropout.
            correction: What the local algorithm's exchange gives (d,), if it has one.

        Returns:
            The memory of updates, whose first d entries are the update until the next call, and the loss and
            the number of steps.
        """
        device = self._vector.device
        start = vector.to(device)
        correction = None if correction is None else correction.to(device)
        self._begin(start)
        generator = speaker_round.generator("training")
        with torch.random.fork_rng(devices=[device] if self._vector.is_cuda else []):
            self._seed(generator.initial_seed())
            losses = [
                self._step(
                    self._batch([examples[i] for i in batch], speaker_round, generator), start, correction
                )
                for batch in self._batches(examples, generator)
            ]
        self._require_constant_buffers()
        torch.sub(start, self._vector, out=self._gradients)
        if self._vector.is_cuda:
            self._update[: self.layout.size].copy_(self._gradients)
        return self._update, Trained(loss=sum(losses) / len(losses), steps=len(losses))

    def _require_constant_buffers(self) -> None:
        """Raise `RuntimeError` if training changed a buffer: it would stay for the next speaker."""
        for name, value in self._model.named_buffers():
            if not torch.equal(value, self._buffers[name]):
                value.copy_(self._buffers[name])
                raise RuntimeError(f"training changed the buffer {name} of the model, outside the update")

    def _begin(self, start: Tensor) -> None:
        """Forget the speaker before: the model, the optimiser's state and the algorithm begin afresh."""
        self._vector.copy_(start)
        self._optimiser.load_state_dict({})
        self._algorithm = local_algorithm(self.settings)

    def warm_up(self, example: Example) -> None:
        """Take a step on an example of no speaker: what torch does once is done then."""
        self._vector.zero_()
        self._step(collate([example]), self._vector.clone(), None)

    def _seed(self, seed: int) -> None:
        """`torch.manual_seed` without its note for an absent GPU, which takes 1 % of a speaker's training."""
        torch.default_generator.manual_seed(seed)
        if self._vector.is_cuda:
            torch.cuda.manual_seed(seed)

    def _batches(self, examples: Sequence[Example], generator: torch.Generator) -> Iterator[list[int]]:
        """The batches of `epochs` passes, or `steps` batches from as many passes as they need."""
        lengths = [len(example.features) for example in examples]
        limit = self._batch_limit
        passes = (limit.batches(lengths, self._hop_seconds, generator) for _ in itertools.count())
        if self.settings.epochs:
            return itertools.chain.from_iterable(itertools.islice(passes, self.settings.epochs))
        return itertools.islice(itertools.chain.from_iterable(passes), self.settings.steps)

    def _batch(
        self, examples: Sequence[Example], speaker_round: SpeakerRound, generator: torch.Generator
    ) -> Batch:
        """One batch, with bands of its features hidden from the round on that the settings name."""
        batch = collate(examples)
        if self._augment is None or speaker_round.round_number <= self.settings.spec_augment_after:
            return batch
        return batch.with_features(self._augment(batch.features, batch.lengths, generator))

    def _step(self, batch: Batch, start: Tensor, correction: Tensor | None) -> float:
        """Take one step. The norm of the local objective's gradient is bounded (paper: C_loc)."""
        mean = self._mean
        loss = self._clipped_(batch, start) if mean is None else self._mean_of_clipped_(batch, start, mean)
        self._algorithm.after_clip_(self._gradients, correction)
        self._optimiser.step_(self._vector, self._gradients, self.settings.learning_rate)
        return loss

    def _clipped_(self, batch: Batch, start: Tensor) -> float:
        """Make the gradient of a batch, of bounded norm; returns the loss."""
        loss, _ = self._differentiate_(batch, start)
        norm = float(self._gradients.norm())
        if norm > self.settings.gradient_clip:
            self._gradients.mul_(self.settings.gradient_clip / norm)
        return loss

    def _mean_of_clipped_(self, batch: Batch, start: Tensor, mean: ClippedMean) -> float:
        """Make the mean of the clipped gradients of a batch's parts; returns the mean loss."""
        mean.reset_()
        total = 0.0
        for indices in parts_of(len(batch), self.settings):
            loss, weight = self._differentiate_(batch.part(indices), start)
            mean.add([self._gradients], weight)
            total += loss * weight
        self._gradients.copy_(mean.result()[0])
        return total / (mean.weight or 1.0)

    def _differentiate_(self, batch: Batch, start: Tensor) -> tuple[float, float]:
        """Make the gradient of the local objective; returns the loss and its weight in a mean of parts."""
        self._gradients.zero_()
        with self._compute.autocast():
            loss, weight = self._model.weighted_objective(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        self._algorithm.before_clip_(self._gradients, self._vector, start)
        return float(loss.detach()), weight
