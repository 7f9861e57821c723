"""The steps of a training over shuffled passes, in one process or in several.

The first process draws a batch, all processes share it, and its gradient is the mean over all of its
utterances (`speech.pretraining.gradients`). So several processes make the steps of one, up to rounding and
to the draws of dropout and SpecAugment.

Our own architecture trains in any number of processes, a pre-trained model in one.
"""

import hashlib
import itertools
import json
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from speech.data.examples import Example
from speech.errors import CheckpointMismatch, SpeechError
from speech.model.ctc_transformer import CTCTransformer
from speech.model.recogniser import Recogniser
from speech.pretraining.config import PretrainConfig
from speech.pretraining.distributed import Processes
from speech.pretraining.gradients import StepGradient
from speech.pretraining.optimisers import load_state_tensors, make_optimiser, state_tensors
from speech.pretraining.progress import Pass, Step
from speech.pretraining.schedules import learning_rate_scale
from speech.pretraining.snapshot import Snapshot
from speech.pretraining.start import load_trained_state_, trained_state


class Trainer:
    """A model, its optimiser and their progress; `state` returns all of it, and `resume` restores it.

    Example:
        >>> from speech.model.ctc_transformer import build_model
        >>> examples = [Example.of("u1", "a cat", torch.zeros(50, 40))]
        >>> trainer = Trainer(build_model("tiny", seed=0), examples, PretrainConfig(epochs=1), Processes())
        >>> [current] = trainer.passes()
        >>> current.batches, trainer.step
        ([[0]], 0)
    """

    def __init__(
        self,
        model: Recogniser,
        examples: Sequence[Example],
        config: PretrainConfig,
        processes: Processes,
    ) -> None:
        self.model, self.examples, self.config = model, examples, config
        self.processes = processes
        # The first process draws the order; each process draws its own masks.
        self.generator = torch.Generator().manual_seed(config.random_seed + processes.rank)
        self._gradient = StepGradient(model, config, processes, self.generator)
        self.optimiser = make_optimiser(self._gradient.trained, config)
        self.step = 0
        self.cpu_seconds = self.seconds = 0.0  # of all steps
        self.current: Pass | None = None
        self._lengths = [len(example.features) for example in examples]

    def passes(self) -> Iterator[Pass]:
        """Yield every remaining pass, an interrupted one first; the caller runs its `steps`."""
        current = self.current or self._drawn(1)
        while True:
            self.current = current
            yield current
            if self.is_last(current):
                return
            current = self._drawn(current.number + 1)

    def is_last(self, current: Pass) -> bool:
        """Return whether this pass is the last one."""
        return current.number == self.config.epochs or self.step == self.config.steps > 0

    def steps(self, current: Pass) -> Iterator[Step]:
        """Run the remaining steps of a pass; a step is complete when it is yielded."""
        self.model.train()
        began = time.process_time(), time.perf_counter()
        for indices in itertools.islice(current.batches, current.done, None):
            step = self._step(current, indices)
            self.cpu_seconds += time.process_time() - began[0]
            self.seconds += time.perf_counter() - began[1]
            yield step
            self.model.train()
            began = time.process_time(), time.perf_counter()

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return counters and tensors for a snapshot; every process must call it."""
        generators = self.processes.gathered(self._generators())
        tensors = {f"model.{name}": value for name, value in trained_state(self.model).items()}
        tensors |= {f"optimiser.{name}": value for name, value in state_tensors(self.optimiser).items()}
        for rank, states in enumerate(generators):
            tensors |= {f"generators.{rank}.{name}": value for name, value in states.items()}
        counters = {"step": self.step, "cpu_seconds": self.cpu_seconds, "seconds": self.seconds}
        facts = {"examples": len(self.examples), "ids": self._ids(), "pass": vars(self.current)}
        return counters | facts, tensors

    def resume(self, snapshot: Snapshot) -> None:
        """Restore the counters and tensors of `state`, and the state of torch's own generator.

        Raises:
            CheckpointMismatch: If the usable utterances are not the same as before.
        """
        # A snapshot of an earlier release has only their number.
        before, ids = snapshot.facts["examples"], snapshot.facts.get("ids", self._ids())
        if before != len(self.examples) or ids != self._ids():
            raise CheckpointMismatch(
                f"the split had {before} utterances with usable audio and has {len(self.examples)}, not all "
                "the same: restore the audio, or delete the snapshot and start again."
            )
        self.step = snapshot.facts["step"]
        self.cpu_seconds, self.seconds = snapshot.facts["cpu_seconds"], snapshot.facts["seconds"]
        self.current = Pass(**snapshot.facts["pass"])
        load_trained_state_(self.model, snapshot.part("model"))
        load_state_tensors(self.optimiser, snapshot.part("optimiser"))
        states = snapshot.part(f"generators.{self.processes.rank}")
        self.generator.set_state(states["own"])
        torch.random.set_rng_state(states["torch"])
        if "cuda" in states:
            torch.cuda.set_rng_state(states["cuda"], self.processes.device)

    def _ids(self) -> str:
        """Return a digest of the examples, in their order."""
        return hashlib.sha256(json.dumps([example.id for example in self.examples]).encode()).hexdigest()

    def _generators(self) -> dict[str, Tensor]:
        states = {"own": self.generator.get_state(), "torch": torch.random.get_rng_state()}
        if self.processes.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.processes.device)
        return states

    def _drawn(self, number: int) -> Pass:
        """Draw a new pass, the same in all processes; with a number of steps, the last pass is cut."""
        hop_seconds = self.model.front_end.hop_seconds
        batches = self.config.batch_limit.batches(self._lengths, hop_seconds, self.generator)
        if self.config.steps:
            batches = batches[: self.config.steps - self.step]
        return Pass(number=number, batches=self.processes.of_first(batches))

    def _step(self, current: Pass, indices: list[int]) -> Step:
        loss, aligned, audio, padded = self._gradient.make([self.examples[one] for one in indices], self.step)
        steps = self._total(current)
        self._check(loss, steps)
        rate = self.config.learning_rate * learning_rate_scale(self._done(current), steps, self.config)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        self.step += 1
        current.done += 1
        mean = loss / max(aligned, 1)
        current.loss += mean * len(indices)
        current.utterances += len(indices)
        current.audio += audio
        current.padded += padded
        return Step(number=self.step, of=steps, epoch=current.number, loss=mean, learning_rate=rate)

    def _total(self, current: Pass) -> int:
        return self.config.steps or self.config.epochs * len(current.batches)

    def _done(self, current: Pass) -> int:
        """Return the finished steps of `_total`: exact for a number of steps, else by passes."""
        if self.config.steps:
            return self.step
        return (current.number - 1) * len(current.batches) + current.done

    def _check(self, loss: float, steps: int) -> None:
        if not math.isfinite(loss):
            raise SpeechError(
                f"training diverged: the loss is {loss} at step {self.step + 1} of {steps}; "
                f"lower learning-rate ({self.config.learning_rate:g})."
            )


def require_possible(model: Recogniser, processes: Processes) -> None:
    """Refuse several processes for another architecture than ours.

    Raises:
        SpeechError: With the remedy.
    """
    if processes.count > 1 and not isinstance(model, CTCTransformer):
        raise SpeechError(
            f"{processes.count} processes: a pre-trained model is trained by one; use --processes 1, or "
            "`murmur run`, which has nodes."
        )
