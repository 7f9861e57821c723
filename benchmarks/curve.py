"""The picture of a run: WER, CER and epsilon over the rounds, from its metrics.jsonl.

python benchmarks/curve.py runs/latest/metrics.jsonl curve.png "Title"
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot


def draw(metrics: list[dict[str, Any]], path: Path, title: str) -> None:
    """Draw the lines of a metrics.jsonl to a PNG."""
    rounds = [line["round"] for line in metrics]
    figure, (errors, privacy) = pyplot.subplots(1, 2, figsize=(9, 3.4), constrained_layout=True)
    figure.suptitle(title)
    evaluated = [line for line in metrics if line["wer"] is not None]
    for key, label in (("wer", "WER"), ("cer", "CER")):
        errors.plot(
            [line["round"] for line in evaluated], [100 * line[key] for line in evaluated], label=label
        )
    errors.set(xlabel="round", ylabel="% on held-out speech", ylim=(0, None))
    errors.legend(frameon=False)
    for key, label in (
        ("epsilon_rdp_this_run", "this run, as it is"),
        ("epsilon_rdp_extrapolated", "extrapolated population"),
    ):
        privacy.plot(rounds[1:], [line[key] for line in metrics[1:]], label=label)
    privacy.set(xlabel="round", ylabel="epsilon (RDP upper bound)", yscale="log")
    privacy.legend(frameon=False)
    for axes in (errors, privacy):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def draw_together(runs: Mapping[str, Sequence[Mapping[str, Any]]], path: Path, title: str) -> None:
    """Draw the WER of several runs, each by its metrics.jsonl's lines: over the rounds, and over epsilon."""
    figure, places = pyplot.subplots(1, 2, figsize=(9, 3.4), sharey=True, constrained_layout=True)
    figure.suptitle(title)
    for axes, key in zip(places, ("round", "epsilon_rdp_this_run"), strict=True):
        for name, metrics in runs.items():
            lines = [line for line in metrics if line["wer"] is not None]
            values = [line[key] for line in lines], [100 * line["wer"] for line in lines]
            axes.plot(*values, marker="o", label=name)
        axes.spines[["top", "right"]].set_visible(False)
    rounds, privacy = places
    rounds.set(xlabel="round", ylabel="WER % on held-out speech", ylim=(0, 150))
    rounds.legend(frameon=False)
    privacy.set(xlabel="epsilon spent (RDP upper bound)")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    source, target, title = sys.argv[1:]
    lines = Path(source).read_text(encoding="utf-8").splitlines()
    draw([json.loads(line) for line in lines], Path(target), title)
