"""The decision whether one more release fits a privacy budget.

Guarantee (`require_budget`): a run that asks before each of its releases, and stops when this raises, stays
(budget, delta)-differentially private.

There are two cases.

* All releases on the population are of this run, and all are of the plan's one kind, fixed before the first
  result. Then the number of releases that fit the budget is fixed too. To stop earlier, or to try a round
  again after a crash, does not change what that number of releases guarantees. The best of all Renyi orders
  and PLD counts.
* Other runs released too, or this run released under another plan. Then later releases were chosen after
  earlier results had been seen. All releases together must pass the filter of `privacy.accounting.filters`,
  which allows fewer rounds. With z from `PrivacyPlan.calibrate` such a run stops before its last round.

These are two statements, about the fixed run and about the filter, each at delta. If a run is abandoned
because of its results and another follows, both hold together at twice delta.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from privacy.accounting.epsilon import Epsilon, Release, epsilon, merge
from privacy.accounting.filters import filtered_epsilon
from privacy.display import epsilon_text
from privacy.errors import BudgetExhausted


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The epsilon at which a run of equal releases must stop.

    Args:
        epsilon: the budget.
        delta: the probability with which epsilon may fail.
        release: the next release; all releases of the run's plan are of this kind.
        planned: the number of releases in the whole plan.

    Example:
        >>> release = Release(sampling_rate=0.01, noise_multiplier=1.0)
        >>> budget = Budget(epsilon=1.0, delta=1e-6, release=release, planned=20)
        >>> budget.require_room(own=(), others=())
        >>> budget.require_room(own=(), others=[replace(release, count=1000)])  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        privacy.errors.BudgetExhausted: The budget is epsilon=1 at delta=1e-06. Other releases ...
    """

    epsilon: float
    delta: float
    release: Release
    planned: int

    def require_room(self, own: Iterable[Release], others: Iterable[Release]) -> None:
        """Refuse the next release if it would exceed the budget.

        Args:
            own: this run's releases so far on the population.
            others: all other releases on it.

        Raises:
            BudgetExhausted: naming what is spent, what it would be after the round, and the budget.
        """
        mine, rest = merge(own), merge(others)
        kind = replace(self.release, count=0)
        if not rest and all(replace(one, count=0) == kind for one in mine):
            self._require_fixed(sum(one.count for one in mine))
        else:
            self._require_filter((*mine, *rest))

    def _after(self, releases: int, pld: bool = True) -> Epsilon:
        return epsilon([replace(self.release, count=releases)], self.delta, pld)

    def _require_fixed(self, done: int) -> None:
        """RDP decides in microseconds while it suffices. After that PLD decides, first for the whole plan.

        One answer of PLD for the whole plan serves every round of a run that fits.
        """
        if self._after(done + 1, pld=False).value <= self.epsilon:
            return
        for releases in (max(done + 1, self.planned), done + 1):
            if (would_be := self._after(releases).value) <= self.epsilon:
                return
        raise BudgetExhausted(
            f"The budget is epsilon={self.epsilon:g} at delta={self.delta:g}; "
            f"{epsilon_text(self._after(done).value, 6)} is spent and one more round would make it "
            f"{epsilon_text(would_be, 6)}. Stop here, or start a run with a higher budget or more noise."
        )

    def _require_filter(self, so_far: tuple[Release, ...]) -> None:
        would_be = filtered_epsilon((*so_far, self.release), self.epsilon, self.delta)
        if would_be <= self.epsilon:
            return
        if math.isinf(epsilon(so_far, self.delta, pld=False).value):
            raise BudgetExhausted(
                f"The budget is epsilon={self.epsilon:g} at delta={self.delta:g}, and an earlier run on this "
                "population released a model without noise: no epsilon is left for these speakers, however "
                "much noise a run has. Take speakers of whom no such run was made."
            )
        spent = filtered_epsilon(so_far, self.epsilon, self.delta)
        raise BudgetExhausted(
            f"The budget is epsilon={self.epsilon:g} at delta={self.delta:g}. Other releases on this "
            "population were known when this run was planned, so a privacy filter counts: "
            f"{epsilon_text(spent, 6)} is spent by all of them together and one more round would make it "
            f"{epsilon_text(would_be, 6)}. Stop here; with more noise, more rounds fit. (A budget that is "
            "raised after results were seen guarantees less than it states.)"
        )
