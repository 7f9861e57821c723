"""The norms of each tensor's update over rounds, from not_private.jsonl.

They are of a simulation with `run.raw-metrics`, are not noised, and no epsilon covers them.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

RAW_FILE = "not_private.jsonl"
NORMS, TENSORS = "update_norms", "tensors"


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
    """
    file = folder / RAW_FILE
    if not file.is_file():
        return None
    first, *lines = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1]] or [{}]
    tensors = tuple(first.get(TENSORS, ()))
    newest: dict[int, dict[int, dict[str, Any]]] = {}
    for line in lines:
        if line.get(NORMS) and len(line[NORMS]) == len(tensors):
            newest.setdefault(line["round"], {})[line["node"]] = line
    rounds = sorted(newest)
    if not tensors or not rounds:
        return None
    columns = [_mean([*newest[one].values()]) for one in rounds]
    return UpdateNorms(tensors=tensors, rounds=np.array(rounds), norms=np.array(columns).T)


def _mean(lines: list[dict[str, Any]]) -> NDArray[np.float64]:
    values = np.array([[math.nan if one is None else one for one in line[NORMS]] for line in lines])
    return np.average(values, axis=0, weights=[line["speakers"] for line in lines])
