"""The rows of the paper that state an epsilon, as printed, with the errors that recomputing finds in them.

They are those of Tables 1, 17, 18 and 20 of arXiv 2310.00098; `recipes/paper/epsilon.csv` has a line for
each.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from recipes.places import PAPER

Field = Literal["epsilon", "order", "sigma"]


@dataclass(frozen=True, kw_only=True)
class EpsilonRow:
    """One (z, q, T, delta) with the epsilon and the Renyi order that are printed for it.

    Args:
        table: number of the table.
        data: whose speech: "cv-en", "cv-fr-90" or "cv-de-90".
        seed: what the model was trained on before.
        sigma: sigma_DP in millionths: std of the noise on the mean of the updates over the clip bound.
        noise_multiplier: z: std of the noise on their sum over the clip bound.
        cohort: S, speakers in a round.
        population: K, speakers in all.
        rounds: T.
        delta: the probability with which epsilon may fail.
        epsilon: as printed, in two digits.
        order: as printed.
        wrong: the field that has a typing error; empty where there is none.
        meant: the value of that field with which the row agrees with itself.
    """

    table: int
    data: str
    seed: str
    sigma: float
    noise_multiplier: float
    cohort: int
    population: int
    rounds: int
    delta: float
    epsilon: float
    order: float
    wrong: Field | Literal[""] = ""
    meant: float | None = None

    @property
    def corrected(self) -> EpsilonRow:
        """The row without its typing error."""
        if not self.wrong or self.meant is None:
            return self
        right: dict[str, Any] = {self.wrong: self.meant}
        return replace(self, wrong="", meant=None, **right)

    @property
    def sampling_rate(self) -> float:
        """q = S / K."""
        return self.cohort / self.population

    @property
    def is_trained(self) -> bool:
        """Whether a model was trained at this scale; all other rows are extrapolated from such a run."""
        return self.trained() == self

    def trained(self) -> EpsilonRow:
        """The row of the training from which this one is extrapolated: the real population and cohort."""
        mine = [row for row in epsilon_rows() if row._training == self._training]
        return min(mine, key=lambda row: row.population)

    @property
    def _training(self) -> tuple[str, str, float]:
        return self.data, self.seed, self.corrected.sigma


@cache
def epsilon_rows() -> tuple[EpsilonRow, ...]:
    """All rows, in the order of the paper."""
    with (PAPER / "epsilon.csv").open(encoding="utf-8", newline="") as file:
        return tuple(map(_row, csv.DictReader(file)))


def _row(line: dict[str, str]) -> EpsilonRow:
    wrong = line["wrong"]
    return EpsilonRow(
        table=int(line["table"]),
        data=line["data"],
        seed=line["seed"],
        sigma=float(line["sigma_millionths"]),
        noise_multiplier=float(line["noise_multiplier"]),
        cohort=int(line["cohort"]),
        population=int(line["population"]),
        rounds=int(line["rounds"]),
        delta=float(line["delta"]),
        epsilon=float(line["epsilon"]),
        order=float(line["order"]),
        wrong=wrong,  # type: ignore[arg-type]
        meant=float(line["meant"]) if wrong else None,
    )
