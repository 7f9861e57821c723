"""The norms of each tensor's update over rounds, from not_private.jsonl.

They are of a simulation with `run.raw-metrics`, are not noised, and no epsilon covers them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cli.report.schemas import RawNorms, norm_lines

RAW_FILE = "not_private.jsonl"


@dataclass(frozen=True, kw_only=True)
class UpdateNorms:
    """Mean norms before clipping.

    Attributes:
        tensors: The names of the trained tensors, in the model's order.
        rounds: The rounds, ascending; shape (rounds,).
        norms: Mean L2 norm over the speakers that were trained; shape (tensors, rounds).
    """

    tensors: tuple[str, ...]
    rounds: NDArray[np.int64]
    norms: NDArray[np.float64]


def read_update_norms(folder: Path) -> UpdateNorms | None:
    """Return the norms of a run; None if it has none.

    A round's lines, one a node, are averaged, weighted by how many speakers each node trained. A round that a
    resumed run made again has the lines of its newest making: a node's later line replaces its earlier one.

    Args:
        folder: The run folder.

    Raises:
        ConfigError: If a line cannot be read or lacks fields.
    """
    tensors, lines = norm_lines(folder / RAW_FILE)
    newest: dict[int, dict[int, RawNorms]] = {}
    for line in lines:
        newest.setdefault(line.round, {})[line.node] = line
    rounds = sorted(newest)
    if not rounds:
        return None
    columns = [_mean([*newest[one].values()]) for one in rounds]
    return UpdateNorms(tensors=tensors, rounds=np.array(rounds), norms=np.array(columns).T)


def _mean(lines: list[RawNorms]) -> NDArray[np.float64]:
    norms = np.array([line.update_norms for line in lines])
    return np.average(norms, axis=0, weights=[line.speakers for line in lines])
