"""What a round takes, from what its parts cost, and which part holds it up.

The nodes' work is divided over all processors. The server takes each answer when it comes, on one thread: so
training, the way of the sums and their adding go on at the same time, and the longest of them is how long
they take together. Noise and step come after the last answer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch

from privacy import IndependentNoise, LayerLayout, SecureGaussian, add_clipped_, add_packed_, pack
from privacy.kernels import scale_into_
from recipes import RunConfig
from server.factory import make_bounds, make_server_step

NODE_SECONDS, SERVER_SECONDS = 0.0015, 0.004  # of a message, whatever the model (benchmarks/NOTES.md)
ROUND_SECONDS = 0.1  # between the last answer and the next round: the ledger, files (benchmarks/NOTES.md)
BUSY = 0.9  # share of the time in which a processor works at a node, while nodes work (benchmarks/NOTES.md)
MEASURED_VALUES, REPEATS = 1 << 22, 3

TRAINING, SUM, DOWN, UP, RELEASE = (
    "training",
    "sum",
    "models to nodes",
    "sums to the server",
    "noise and step",
)


@dataclass(frozen=True, kw_only=True)
class ValueCosts:
    """Seconds of a processor for each value of the model's vector.

    Attributes:
        clip: On a node: clip, round and add one update.
        pack: On a node: pack its sum.
        add: At the server: unpack, check and add one answer.
        noise: At the server: noise and mean.
        step: At the server: its optimiser.
    """

    clip: float
    pack: float
    add: float
    noise: float
    step: float

    @classmethod
    def measured(cls, config: RunConfig, values: int) -> ValueCosts:
        """Measure them here, for a model of so many values; of a large model on a part of it."""
        layout = LayerLayout.of([("all", (min(values, MEASURED_VALUES),))])
        section = config.privacy.model_copy(update={"clip_groups": "", "adaptive_clip": False})
        bounds, quantiser = make_bounds(section, layout)
        optimiser, _ = make_server_step(config.server, layout)
        vector, update = torch.randn(2, bounds.size, generator=torch.Generator().manual_seed(0))
        total, released = torch.zeros(bounds.size, dtype=torch.int32), torch.empty(bounds.size)
        add_clipped_(total, update, bounds, quantiser)
        of_one = total.clone()
        packed, noise, source = pack(of_one, 1, bounds, quantiser), IndependentNoise(), SecureGaussian()

        def release() -> None:
            for begin, end, block in noise.noised_blocks(total, bounds, quantiser, 1.0, source):
                scale_into_(released[begin:end].numpy(), block, quantiser.step)

        works: dict[str, Callable[[], object]] = {
            "add": lambda: add_packed_(total, packed, 1, bounds, quantiser),
            "noise": release,
            "step": lambda: optimiser.step_(vector[: layout.size], released[: layout.size], 1e-6),
            "pack": lambda: pack(of_one, 1, bounds, quantiser),
            "clip": lambda: add_clipped_(total, update, bounds, quantiser),
        }
        return cls(**{name: _seconds(work) / layout.size for name, work in works.items()})


def _seconds(work: Callable[[], object]) -> float:
    """The shortest of some runs, in processor seconds; the first warms up."""
    times = []
    for _ in range(1 + REPEATS):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times[1:])


@dataclass(frozen=True, kw_only=True)
class RoundCosts:
    """What one round takes.

    Attributes:
        speakers: The speakers that are trained, as expected.
        nodes: The nodes that are contacted, as expected.
        processors: Of all machines together; the server's thread has one of them.
        update: Processor seconds of one speaker's local training.
        values: Length of the model's vector.
        value: Costs of each value.
        model_bytes: Of the model in a task.
        sum_bytes: Of the sum in an answer.
        machines: How many there are; the server is on one of them.
        network_bytes: What the server's machine can send in a second, and receive beside it.
    """

    speakers: float
    nodes: float
    processors: int
    update: float
    values: int
    value: ValueCosts
    model_bytes: int
    sum_bytes: int
    machines: int = 1
    network_bytes: float = math.inf

    @cached_property
    def parts(self) -> dict[str, float]:
        """Seconds of each part alone. A round's model goes to each other machine once."""
        value, of_others = self.value, 1 - 1 / self.machines
        server = self.nodes * (SERVER_SECONDS + self.values * value.add)
        node = self.speakers * (self.update + self.values * value.clip)
        node += self.nodes * (NODE_SECONDS + self.values * value.pack)
        return {
            TRAINING: (node / BUSY + server) / self.processors,
            SUM: server,
            DOWN: min(self.machines - 1, self.nodes) * self.model_bytes / self.network_bytes,
            UP: of_others * self.nodes * self.sum_bytes / self.network_bytes,
            RELEASE: self.values * (value.noise + value.step),
        }

    @property
    def bytes_down(self) -> float:
        """Of the models for all contacted nodes, were each on a machine of its own."""
        return self.nodes * self.model_bytes

    @property
    def bytes_up(self) -> float:
        """Of their sums."""
        return self.nodes * self.sum_bytes

    @property
    def seconds(self) -> float:
        """Seconds of the round without its evaluation."""
        parts = self.parts
        meanwhile = max(seconds for part, seconds in parts.items() if part != RELEASE)
        return meanwhile + parts[RELEASE] + ROUND_SECONDS

    @property
    def bottleneck(self) -> str:
        """The part that takes longest."""
        return max(self.parts, key=lambda part: self.parts[part])
