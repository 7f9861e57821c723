"""What a server does to 255.8 M parameters in a round, as bytes a second: `python -m benchmarks.server_step`.

Beside a plain in-place add of the same vectors in the same run, whose bytes a second are the machine's. The
bytes of a step are the fewest that it can move: each value that it must read, and each that it must write,
counted once. Replies come packed, and a round is told both ways: with sums that lie unpacked, which is what
the goal speaks of, and as it is. Beside it Flower's DP wrapper around FedAdam, whole rounds; for their
memory's sake at a quarter of the size, told per value.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.aggregation import CLIENTS, flower
from benchmarks.memory import PRESET as QUARTER
from benchmarks.memory import layout_of
from benchmarks.report import Ratio, best_seconds, conditions, one_thread, table, write
from optim import make_optimiser
from privacy import ClipBounds, Quantiser, SecureGaussian, add_checked_, add_clipped_, add_packed_, pack
from privacy.kernels import scale_into_
from privacy.noise.independent import IndependentNoise

REPEATS = 3
REPLIES = 8  # of as many nodes; theirs are the bytes of a round, beside one release and one step

BYTES = {  # of a value, four for each float32 or int32
    "plain": 4 * 3,  # read a and b, write a
    "check": 4 * 3,  # read reply and sum, write the sum
    "noise": 4 * 2,  # read the sum, write the mean
    "lamb": 4 * 7,  # read weights, mean, two moments; write weights and moments
}
TITLES = {
    "plain": "plain `a.add_(b)`, float32",
    "check": "check a sum that lies unpacked, add it",
    "packed": "unpack a reply, check it, add it",
    "noise": "noise, and the mean",
    "lamb": "LAMB",
    "normal": "torch `normal_`, float32, for comparison",
}


def ours(preset: str) -> tuple[int, dict[str, Callable[[], object]]]:
    """The number of values, and our steps over vectors of that size."""
    layout = layout_of(preset)
    bounds = ClipBounds.of("dim", 1.0, layout)
    quantiser, noise, source = Quantiser.of(bounds), IndependentNoise(), SecureGaussian()
    generator = torch.Generator().manual_seed(0)
    vector, mean = (
        torch.randn(layout.size, generator=generator),
        torch.randn(layout.size, generator=generator),
    )
    total, reply = torch.zeros(2, layout.size, dtype=torch.int32)
    add_clipped_(reply, mean, bounds, quantiser)
    packed = pack(reply, 1, bounds, quantiser)
    optimiser = make_optimiser("lamb", layout, trust_ratio_cap=10.0)
    released, some = torch.empty(layout.size), torch.empty(1 << 22)

    def release() -> None:
        for begin, end, block in noise.noised_blocks(total, bounds, quantiser, 1.0, source):
            scale_into_(released[begin:end].numpy(), block, quantiser.step / REPLIES)

    def normal() -> None:
        for begin in range(0, layout.size, len(some)):
            some[: layout.size - begin].normal_()

    return layout.size, {
        "plain": lambda: vector.add_(mean, alpha=1e-9),
        "check": lambda: add_checked_(total, reply, 1, bounds, quantiser),
        "packed": lambda: add_packed_(total, packed, 1, bounds, quantiser),
        "noise": release,
        "lamb": lambda: optimiser.step_(vector, mean, 1e-3),
        "normal": normal,
    }


def main() -> None:
    """Measure all and write the page."""
    one_thread()
    values, steps = ours("paper")
    best = best_seconds(steps, REPEATS, time.process_time)
    del steps
    speed = BYTES["plain"] / best["plain"]
    share = {name: BYTES[name] / best[name] / speed for name in BYTES}
    quarter = layout_of(QUARTER)
    shapes = dict(zip(quarter.names, quarter.shapes, strict=True))
    theirs = (
        best_seconds({"flower": flower(shapes, "FedAdam")}, 1, time.process_time)["flower"] / quarter.size
    )
    after = best["noise"] + best["lamb"]
    unpacked = REPLIES * best["check"] + after
    round_of = {count: count * best["packed"] + after for count in (CLIENTS, REPLIES)}
    moved = REPLIES * BYTES["check"] + BYTES["noise"] + BYTES["lamb"]
    whole = moved / unpacked / speed
    rows = [("step", "seconds", "ns a value", "bytes a value", "of a plain add's bytes a second")]
    for name, title in TITLES.items():
        told = (str(BYTES[name]), f"{share[name]:.2f}") if name in BYTES else ("", "")
        rows.append((title, f"{best[name]:.2f}", f"{best[name] / values * 1e9:.2f}", *told))
    for title, seconds, told in (
        (f"a round of {REPLIES} sums that lie unpacked", unpacked, (str(moved), f"{whole:.2f}")),
        (f"a round of {REPLIES} replies", round_of[REPLIES], ("", "")),
        (f"a round of {CLIENTS} replies", round_of[CLIENTS], ("", "")),
    ):
        rows.append((title, f"{seconds:.2f}", f"{seconds / values * 1e9:.2f}", *told))
    title = f"Flower: a round of {CLIENTS} replies, {quarter.size / 1e6:.0f} M values"
    rows.append((title, f"{theirs * quarter.size:.2f}", f"{theirs * 1e9:.2f}", "", ""))
    ratios = [
        Ratio(name="check and add, of a plain add's bytes a second", value=share["check"], at_least=0.5),
        Ratio(name="LAMB, of a plain add's bytes a second", value=share["lamb"], at_least=0.5),
        Ratio(name="noise and mean, of a plain add's bytes a second", value=share["noise"], at_least=0.5),
        Ratio(name=f"round of {REPLIES} sums, of a plain add's bytes a second", value=whole, at_least=0.5),
        Ratio(
            name=f"round of {REPLIES} sums, speed with their unpacking", value=unpacked / round_of[REPLIES]
        ),
        Ratio(name="round, times as fast as Flower's", value=theirs * values / round_of[CLIENTS]),
    ]
    verdicts = ", ".join(f"{one.name.split(',')[0]} {one.value:.2f} {one.verdict}" for one in ratios[:4])
    text = f"# The server's step on {values:,} values\n\n{conditions()}\n\n{table(rows)}\n\n{NOTES}"
    write(
        Path(__file__).with_suffix(".md"),
        f"{text}\n\nThe goal is a share of at least 0.5: {verdicts}.",
        ratios,
    )


NOTES = f"""Seconds are those of one core's time. Bytes a value are the fewest that a step can move. (Until
2026-11-25 a reply was read to its end before any of it was added, and 16 bytes were counted for that, 164 for
a round; a refused reply is now taken back instead.) LAMB goes over a layer a second time, once it has the
norm of a layer's step, which is not counted. A round of {REPLIES} replies, each of another node, is {REPLIES}
checks and adds, one noise and one step. The server unpacks a reply, checks and adds it block by block, in a
core's caches, and never holds an unpacked one: the rows of replies are what it does, and Flower's round is
compared with that. How many bytes packing saves is told in benchmarks/traffic.md.

Noise moves 8 bytes and computes AES, a logarithm, a root, a sine and a cosine in float64: no memory is the
limit there, as it is none for `normal_`, whose float32 can be foretold."""

if __name__ == "__main__":
    sys.exit(main())
