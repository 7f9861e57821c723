"""The paper's epsilons computed again: at its order, at opacus' orders, at ours, and by PLD."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from cli.paper.epsilon_rows import EpsilonRow
from privacy.accounting.epsilon import USUAL_ORDERS, Release, epsilon, pld_epsilon, rdp_epsilon

TOLERANCE = 0.06
"""Of a printed epsilon, relative: the tables have two digits, mostly rounded up."""


@dataclass(frozen=True, kw_only=True)
class Recomputed:
    """A printed row and what our accountants say of it; all are upper bounds at the row's delta.

    Args:
        row: as printed.
        at_order: epsilon by RDP at the printed order.
        usual: epsilon by RDP at the best of opacus' own orders, which papers use.
        rdp: epsilon by RDP at the best of our orders.
        order: that order.
        pld: epsilon by PLD; infinite where hardly any noise leaves it without a bound, None if not asked for.
        reproduced: whether `at_order` is the printed epsilon, to the digits of the tables.
        as_trained: epsilon, the smaller of both bounds, of the training that was really made: with the cohort
            and the real population of the row that this one is extrapolated from.
    """

    row: EpsilonRow
    at_order: float
    usual: float
    rdp: float
    order: float
    pld: float | None
    reproduced: bool
    as_trained: float

    @classmethod
    def of(cls, row: EpsilonRow, pld: bool = True) -> Recomputed:
        """Compute a row; RDP takes some 0.2 s, and PLD 0 to 2 s if it is asked for."""
        releases = [_release(row)]
        at_order, _ = rdp_epsilon(releases, row.delta, (row.order,))
        usual, _ = rdp_epsilon(releases, row.delta, USUAL_ORDERS)
        rdp, order = rdp_epsilon(releases, row.delta)
        return cls(
            row=row,
            at_order=at_order,
            usual=usual,
            rdp=rdp,
            order=order,
            pld=pld_epsilon(releases, row.delta) if pld else None,
            reproduced=math.isclose(at_order, row.epsilon, rel_tol=0, abs_tol=TOLERANCE * row.epsilon),
            as_trained=epsilon([_release(row.trained())], row.delta, pld).value,
        )

    @property
    def error(self) -> str:
        """The row's typing error in words; empty if it has none."""
        if not self.row.wrong:
            return ""
        unit = "e-6" if self.row.wrong == "sigma" else ""
        printed = getattr(self.row, self.row.wrong)
        return f"{self.row.wrong} {printed:g}{unit} must be {self.row.meant:g}{unit}"

    def describe(self) -> dict[str, Any]:
        """All of it in plain values, fit for JSON."""
        row = asdict(self.row)
        wrong, meant = row.pop("wrong"), row.pop("meant")
        printed = {"printed_epsilon": row.pop("epsilon"), "printed_order": row.pop("order")}
        real = self.row.trained()
        return {
            **row,
            "sampling_rate": self.row.sampling_rate,
            **printed,
            "rdp_at_printed_order": self.at_order,
            "rdp_at_usual_orders": self.usual,
            "rdp": self.rdp,
            "order": self.order,
            "pld": None if self.pld == math.inf else self.pld,
            "reproduced": self.reproduced,
            "typing_error": {"field": wrong, "meant": meant} if wrong else None,
            "extrapolated": not self.row.is_trained,
            "trained": {"cohort": real.cohort, "population": real.population, "epsilon": self.as_trained},
        }


def _release(row: EpsilonRow) -> Release:
    return Release(sampling_rate=row.sampling_rate, noise_multiplier=row.noise_multiplier, count=row.rounds)
