"""Clipping and adding replies against a plain in-place add: `python -m benchmarks.aggregation`.

The goal: clip and add at least half as fast as `a.add_(b)` on the same machine, in the same run. A server
gets its replies packed: to unpack them is a part of what it does, and is told apart. Beside it
Flower's own DP wrapper and pfl 0.6 on tensors of the same sizes. pfl needs older packages than ours, so it
gets a virtual environment of its own in a temporary folder; without network that row is left out, and said.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from benchmarks.pfl_environment import NoPfl, last_line, pfl_python
from benchmarks.report import Ratio, best_seconds, conditions, one_thread, table, write
from privacy import ClipBounds, LayerLayout, Quantiser, add_checked_, add_clipped_, add_packed_, pack

LAYERS, SHAPE = 42, (768, 768)
NAMES = [f"layer{index}" for index in range(LAYERS)]
CLIENTS = 4  # replies in a round of Flower's, which is timed whole
PFL_PROGRAM = Path(__file__).with_name("pfl_round.py")


def ours() -> dict[str, Callable[[], object]]:
    """A plain add, and our steps, over one model."""
    layout = LayerLayout.of(dict.fromkeys(NAMES, SHAPE))
    bounds = ClipBounds.of("uniform", 1.0, layout)
    quantiser = Quantiser.of(bounds)
    update = torch.randn(layout.size, generator=torch.Generator().manual_seed(0)) * 1e-3
    floats, total = torch.zeros(layout.size), torch.zeros(layout.size, dtype=torch.int32)
    reply = torch.zeros_like(total)
    add_clipped_(reply, update, bounds, quantiser)
    packed = pack(reply, 1, bounds, quantiser)

    def in_floats() -> None:
        floats.add_(update, alpha=min(1.0, 1.0 / float(update.norm())))

    return {
        "plain": lambda: floats.add_(update),
        "floats": in_floats,
        "clip": lambda: add_clipped_(total, update, bounds, quantiser),
        "check": lambda: add_checked_(total, reply, 1, bounds, quantiser),
        "packed": lambda: add_packed_(total, packed, 1, bounds, quantiser),
    }


def flower(shapes: Mapping[str, tuple[int, ...]], inner: str = "FedAvg") -> Callable[[], object]:
    """One round of Flower's fixed-clipping wrapper, from replies to the noised model.

    `inner` names the strategy that it wraps.
    """
    from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
    from flwr.serverapp import strategy as strategies
    from flwr.supercore.task_identity import TaskIdentity

    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1
    logging.getLogger("flwr").setLevel(logging.ERROR)
    generator = np.random.default_rng(0)
    update = {
        name: Array(generator.standard_normal(shape, dtype=np.float32)) for name, shape in shapes.items()
    }
    zeros = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    zero = ArrayRecord({name: Array(values) for name, values in zeros.items()})
    asked = Message(RecordDict({"arrays": zero, "config": ConfigRecord()}), 1, "train")

    def reply() -> Message:
        metrics = MetricRecord({"num-examples": 1})
        return Message(RecordDict({"arrays": ArrayRecord(update), "metrics": metrics}), reply_to=asked)

    def one_round() -> None:
        wrapped = getattr(strategies, inner)()
        wrapped.current_arrays = zeros
        strategy = strategies.DifferentialPrivacyServerSideFixedClipping(wrapped, 1.0, 1.0, CLIENTS)
        strategy.current_arrays = zero
        strategy.aggregate_train(1, [reply() for _ in range(CLIENTS)])

    return one_round


def pfl() -> dict[str, float] | str:
    """Seconds of a plain add and of pfl's clip and sum in pfl's own environment, or why there are none."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            python = pfl_python(Path(folder))
        except NoPfl as reason:
            return str(reason)
        program = [python, "-I", PFL_PROGRAM, str(LAYERS), *map(str, SHAPE)]
        done = subprocess.run(program, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"pfl could not be run: {last_line(done.stderr)}"
        measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return measured


def main() -> None:
    """Measure everything once and write the page."""
    one_thread()
    best = best_seconds(ours())
    best |= {
        name: value / CLIENTS
        for name, value in best_seconds({"flower": flower(dict.fromkeys(NAMES, SHAPE))}, 3).items()
    }
    other = pfl()
    values = LAYERS * SHAPE[0] * SHAPE[1]
    names = {
        "plain": "`a.add_(b)`, float32",
        "floats": "`update.norm()` and `a.add_(update, alpha)`, all float32, no layers, nothing exact",
        "clip": "ours: `add_clipped_` (clip, round, add; on the node)",
        "check": "ours: `add_checked_` (check, add; of a sum that lies unpacked)",
        "packed": "ours: `add_packed_` (unpack, check, add; on the server)",
        "flower": f"Flower's wrapper and FedAvg, a round of {CLIENTS} with noise, per reply",
    }
    rows = [("a reply", "ms", "million values a second", "speed")]
    for name, title in names.items():
        rows.append(_row(title, best[name], values, best["plain"]))
    if not isinstance(other, str):
        rows.append(
            _row("pfl 0.6.0: clip and sum (plain add of its own run)", other["pfl"], values, other["plain"])
        )
    ratios = [
        Ratio(
            name="clip, round and add, speed of a plain add", value=best["plain"] / best["clip"], at_least=0.5
        ),
        Ratio(name="check and add, speed of a plain add", value=best["plain"] / best["check"], at_least=0.5),
        Ratio(name="unpack, check and add, speed of a plain add", value=best["plain"] / best["packed"]),
    ]
    if not isinstance(other, str):
        pfl_speed = other["plain"] / other["pfl"]
        against = best["plain"] / best["clip"] / pfl_speed
        ratios.append(Ratio(name="clip, round and add, times as fast as pfl 0.6", value=against))
    notes = (
        f"The goal is a speed of at least 0.5: clip {ratios[0].verdict}, check {ratios[1].verdict}; with "
        f"unpacking it is {ratios[2].value:.2f}.{REASON}"
    )
    text = f"# Aggregating {values:,} values\n\n{conditions()}\n\n{table(rows)}\n\n{notes}"
    text += f"\n\n{other}" if isinstance(other, str) else ""
    write(Path(__file__).with_suffix(".md"), text, ratios)


REASON = """
A plain add passes once over its two tensors. A clip must have read an update to its end before it may add
the first value: that is a second pass over the update. A check adds while it reads, and takes back what does
not pass. All are compiled loops (privacy/kernels.py): torch has no operation that scales, rounds, converts,
counts and adds at once. To unpack a reply costs more than all that: it is the price of a third of the
bytes. Flower's row has a round's noise and its optimiser in it; server_step.md has rounds beside rounds."""


def _row(title: str, seconds: float, values: int, plain: float) -> tuple[str, ...]:
    return (title, f"{seconds * 1e3:.1f}", f"{values / seconds / 1e6:,.0f}", f"{plain / seconds:.2f}")


if __name__ == "__main__":
    sys.exit(main())
