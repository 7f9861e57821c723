"""The clipped gradient of a step of central training, in one process or in several.

The processes share the utterances of a step, and each of them gets the gradient of all. Without parts
(`speech.micro_batches`) torch averages the gradients over the processes, and the mean is clipped. With parts
each process clips the gradients of its own parts, and their sums are added up.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from speech.data.batching import Batch, collate
from speech.data.examples import Example
from speech.features.spec_augment import make_augment
from speech.micro_batches import BATCH, ClippedMean, parts_of
from speech.model.compute import Compute
from speech.model.ctc_transformer import CTCTransformer
from speech.model.loss import alignable, ctc_losses
from speech.model.recogniser import Recogniser
from speech.pretraining.config import PretrainConfig
from speech.pretraining.distributed import Processes

Sums = tuple[float, float, float, float]
"""Over all processes: the sum of losses, utterances that count, frames, and frames with padding."""


class StepGradient:
    """Makes the gradient of a model, clipped as its configuration says.

    Args:
        model: The model; it is placed on the device of the process.
        config: The settings.
        processes: This process and the others.
        generator: Draws the masks of this process.

    Example:
        >>> from speech.data.examples import Example
        >>> from speech.model.ctc_transformer import build_model
        >>> model, config = build_model("tiny", seed=0), PretrainConfig(preset="tiny", gradient_clip=0.5)
        >>> gradient = StepGradient(model, config, Processes(), torch.Generator().manual_seed(0))
        >>> said = Example.of("u1", "yes", torch.zeros(100, 40))
        >>> _, counted, _, _ = gradient.make([said, said], 0)
        >>> norm = torch.cat([value.grad.flatten() for value in gradient.trained]).norm()
        >>> counted, round(float(norm), 4)
        (2.0, 0.5)
    """

    def __init__(
        self, model: Recogniser, config: PretrainConfig, processes: Processes, generator: torch.Generator
    ) -> None:
        self.model, self.config, self.processes, self.generator = model, config, processes, generator
        self._compute = Compute.choose(
            precision=config.precision, compile=config.compile, device=str(processes.device)
        )
        self._compute.place(model)
        self.trained = [value for value in model.parameters() if value.requires_grad]
        self._spec_augment = make_augment(model.augment, config)
        whole = config.clip == BATCH
        self._mean = None if whole else ClippedMean.of(config, self.trained, config.gradient_clip)
        self._network = _wrapped(model, processes) if whole else model

    def make(self, examples: Sequence[Example], step: int) -> Sums:
        """Write the clipped gradient of a batch of all processes into the trained parameters' `grad`.

        Args:
            examples: The batch, the same in all processes.
            step: The number of finished steps.
        """
        if self._mean is None:
            return self._of_batch(examples, step)
        return self._of_parts(examples, step, self._mean)

    def _of_batch(self, examples: Sequence[Example], step: int) -> Sums:
        own = examples[self.processes.rank :: self.processes.count]
        # Every process must take part in a step; one without an utterance of its own counts as zero.
        batch = self._augmented(collate(own or examples[:1]), step)
        losses, counted = self._losses(batch)
        losses = losses * (1.0 if own else 0.0)
        sums = self._summed(losses.detach().sum(), counted if own else 0, [batch] if own else [])
        self.model.zero_grad()
        # The gradients of the processes are averaged; times their number, this is the mean over the batch.
        (losses.sum() / (max(int(sums[1]), 1) / self.processes.count)).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
        return sums

    def _of_parts(self, examples: Sequence[Example], step: int, mean: ClippedMean) -> Sums:
        mean.reset_()
        parts = self._own_parts(examples, step)
        losses = [self._add(part, mean) for part in parts]
        sums = self._summed(sum(losses), mean.weight, parts)
        _join_(mean, self.processes)
        for value, gradient in zip(self.trained, mean.result(), strict=True):
            value.grad = gradient
        return sums

    def _own_parts(self, examples: Sequence[Example], step: int) -> list[Batch]:
        """Return the parts of this process, with the masks of one batch; there may be none."""
        own = parts_of(len(examples), self.config)[self.processes.rank :: self.processes.count]
        if not own:
            return []
        # In the order of the batch: a process alone then draws the masks that it would without parts.
        order = sorted(itertools.chain.from_iterable(own))
        batch = self._augmented(collate([examples[index] for index in order]), step)
        return [batch.part([order.index(index) for index in part]) for part in own]

    def _add(self, part: Batch, mean: ClippedMean) -> float:
        """Add the clipped gradient of a part; return the sum of its losses."""
        self.model.zero_grad()
        with self._compute.autocast():
            loss, weight = self.model.weighted_objective(part)
        loss.backward()  # type: ignore[no-untyped-call]
        mean.add([value.grad for value in self.trained], weight)
        return float(loss.detach()) * weight

    def _losses(self, batch: Batch) -> tuple[Tensor, int]:
        """Return losses whose sum over the returned number of utterances is the model's objective.

        Those of our own architecture are (B,), so that processes can add them up.
        """
        if not isinstance(self.model, CTCTransformer):
            with self._compute.autocast():
                objective = self.model.objective(batch)
            return (objective * len(batch)).unsqueeze(0), len(batch)
        with self._compute.autocast():
            log_probs, frames = self._network(batch.features.to(self.processes.device), batch.lengths)
        return ctc_losses(log_probs, frames, batch), alignable(frames, batch)

    def _augmented(self, batch: Batch, step: int) -> Batch:
        if self._spec_augment is None or step < self.config.spec_augment_after:
            return batch
        return batch.with_features(self._spec_augment(batch.features, batch.lengths, self.generator))

    def _summed(self, loss: Tensor | float, counted: float, batches: Sequence[Batch]) -> Sums:
        """Sum over the processes: the losses, the utterances that count, frames and padded frames."""
        audio = sum(int(batch.lengths.sum()) for batch in batches)
        padded = sum(batch.features.shape[0] * batch.features.shape[1] for batch in batches)
        numbers = torch.tensor([0.0, counted, audio, padded], dtype=torch.float64).to(self.processes.device)
        numbers[0] = loss
        found: list[float] = self.processes.sum_(numbers).tolist()
        return found[0], found[1], found[2], found[3]


def _join_(mean: ClippedMean, processes: Processes) -> None:
    """Make the running mean that of all processes together."""
    if processes.count == 1:
        return
    processes.sum_(mean.flat)
    numbers = torch.zeros(1 + processes.count, dtype=torch.float64, device=processes.device)
    numbers[0], numbers[1 + processes.rank] = mean.weight, mean.smallest
    mean.weight, *norms = processes.sum_(numbers).tolist()
    mean.smallest = min(norms)


def _wrapped(model: Recogniser, processes: Processes) -> nn.Module:
    if isinstance(model, CTCTransformer):
        return processes.wrapped(model, may_skip_layers=model.config.layer_drop > 0)
    return model
