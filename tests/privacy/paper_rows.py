"""The paper's epsilons as printed, beside the same computed independently of this repository."""

import json
from pathlib import Path
from typing import Any

from cli.paper.epsilon_rows import EpsilonRow, epsilon_rows

_GOLDEN: list[dict[str, Any]] = json.loads((Path(__file__).parent / "golden_epsilon.json").read_text())[
    "rows"
]
_BY_SCALE = {(one["z"], one["cohort"], one["population"], one["T"]): one for one in _GOLDEN}


def golden_of(row: EpsilonRow) -> dict[str, Any]:
    """The independent values of a row; Table 20 repeats three rows of Table 1."""
    return _BY_SCALE[row.noise_multiplier, row.cohort, row.population, row.rounds]


def _joined(row: EpsilonRow) -> dict[str, Any]:
    printed = {"delta": row.delta, "published": row.epsilon, "order": row.order}
    return {**golden_of(row), "table": f"T{row.table} {row.data}", "q": row.sampling_rate, **printed}


ROWS = sorted((_joined(row) for row in epsilon_rows() if row.table != 20), key=lambda row: row["id"])
"""The rows, each once, with the names of their parts that a formula has."""
