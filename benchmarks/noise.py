"""Secure noise against torch's own: `python -m benchmarks.noise [values [folder]]`.

The goal: on 255 million values, at least half the speed of `normal_`. A folder is an older checkout, whose
noise is measured beside it, in turns.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.report import Ratio, best_seconds, conditions, one_thread, table, write
from privacy import SecureGaussian
from privacy.noise.independent import BLOCK

VALUES = 255_000_000
REPEATS = 3
STD = 2.0**20


def main(values: int = VALUES, before: str = "") -> None:
    """Measure all over the same number of values, block by block, and write the page."""
    one_thread()
    floats, sums, source = torch.empty(BLOCK), np.zeros(BLOCK, dtype=np.int64), SecureGaussian()
    sizes = [min(BLOCK, values - start) for start in range(0, values, BLOCK)]
    older: list[float] = []

    def theirs() -> None:
        for size in sizes:
            floats[:size].normal_()

    def ours() -> None:
        for size in sizes:
            source.add_rounded_(sums[:size], STD)

    def ours_before() -> None:
        older.append(seconds_of(before, values))

    works = {"plain": theirs, "secure": ours} | ({"before": ours_before} if before else {})
    best = best_seconds(works, REPEATS, time.process_time)
    plain, secure = best["plain"], best["secure"]
    measured = [("torch `normal_`, float32, MT19937", plain), ("`SecureGaussian.add_rounded_`", secure)]
    if before:
        measured.append(("the same before it was exact, 2026-11-26", min(older)))
    rows = [("noise", "seconds", "ns a value", "speed")]
    for name, seconds in measured:
        rows.append((name, f"{seconds:.2f}", f"{seconds / values * 1e9:.1f}", f"{plain / seconds:.2f}"))
    speed = Ratio(name="secure noise, speed of torch's normal_", value=plain / secure, at_least=0.5)
    write(
        Path(__file__).with_suffix(".md"),
        f"# Noise on {values:,} values\n\n{conditions()}\n\n{table(rows)}\n\n"
        "`normal_` writes float32 from a generator that can be seeded. Ours draws words from AES-128 in\n"
        "counter mode under a key that nobody sees and adds the *exact* rounding of a normal to int64 sums:\n"
        "torch's functions in float64 where they settle it, interval arithmetic for one pair in 230,000, on\n"
        "one core as well (seconds are a processor's). The sampler before was a compiled loop of our own\n"
        "polynomials, and faster; its tail ended at 9.4 standard deviations.\n"
        f"The goal is a speed of at least 0.5: {speed.verdict}.",
        [speed],
    )


def seconds_of(folder: str, values: int) -> float:
    """A processor's seconds for this much secure noise by the classes of another checkout."""
    program = (
        "import sys, time, numpy, torch; from privacy import SecureGaussian\n"
        "torch.set_num_threads(1); block, values = map(int, sys.argv[1:])\n"
        "sums, source = numpy.zeros(block, dtype=numpy.int64), SecureGaussian()\n"
        f"source.add_rounded_(sums, {STD}); began = time.process_time()\n"
        f"for start in range(0, values, block): source.add_rounded_(sums[: values - start], {STD})\n"
        "print(time.process_time() - began)"
    )
    command = [sys.executable, "-c", program, str(BLOCK), str(values)]
    environment = os.environ | {"PYTHONPATH": folder, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]), *sys.argv[2:3])
