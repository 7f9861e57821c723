"""Secure noise against torch's own: `python -m benchmarks.noise [values]`.

The goal: on 255 million values, at least half the speed of `normal_`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.report import Ratio, best_seconds, conditions, one_thread, table, write
from privacy import SecureGaussian
from privacy.round_noise import BLOCK

VALUES = 255_000_000


def main(values: int = VALUES) -> None:
    """Measure both over the same number of values, block by block, and write the page."""
    one_thread()
    floats, sums, source = torch.empty(BLOCK), np.zeros(BLOCK, dtype=np.int64), SecureGaussian()
    sizes = [min(BLOCK, values - start) for start in range(0, values, BLOCK)]

    def theirs() -> None:
        for size in sizes:
            floats[:size].normal_()

    def ours() -> None:
        for size in sizes:
            source.add_rounded_(sums[:size], 2.0**20)

    best = best_seconds({"plain": theirs, "secure": ours}, 3, time.process_time)
    plain, secure = best["plain"], best["secure"]
    rows = [("noise", "seconds", "ns a value", "speed")]
    for name, seconds in (
        ("torch `normal_`, float32, MT19937", plain),
        ("`SecureGaussian.add_rounded_`", secure),
    ):
        rows.append((name, f"{seconds:.2f}", f"{seconds / values * 1e9:.1f}", f"{plain / seconds:.2f}"))
    speed = Ratio(name="secure noise, speed of torch's normal_", value=plain / secure, at_least=0.5)
    write(
        Path(__file__).with_suffix(".md"),
        f"# Noise on {values:,} values\n\n{conditions()}\n\n{table(rows)}\n\n"
        "`normal_` writes float32 from a generator that can be seeded. Ours draws float64 from AES-128 in\n"
        "counter mode under a key that nobody sees, scales, rounds to whole grid steps and adds to int64\n"
        "sums, on one core as well (seconds are a processor's).\n"
        f"The goal is a speed of at least 0.5: {speed.verdict}.",
        [speed],
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
