"""What a run promises and what it has spent: the epsilons of the table, the summary and the run's metrics.

Every epsilon is computed from the ledger; the extrapolated one also needs the plan, and is never shown alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from privacy import Epsilon, PrivacyPlan, epsilon
from server.storage.ledgers import Account


@dataclass(frozen=True, kw_only=True)
class Spending:
    """The privacy plan of a run, the extrapolated plan, and the releases in the ledger.

    Attributes:
        plan: The plan of this run.
        extrapolated: The plan with the population and the cohort that the recipe extrapolates to.
        account: The releases.
        synthetic: Whether all speakers are synthetic.
    """

    plan: PrivacyPlan
    extrapolated: PrivacyPlan
    account: Account
    synthetic: bool

    def of_run(self, *, pld: bool = True) -> Epsilon:
        """Epsilon of this run alone; without `pld`, only the RDP bound, which is quick."""
        return epsilon(self.account.own, self.plan.delta, pld=pld)

    def of_model(self, *, pld: bool = True) -> Epsilon | None:
        """Epsilon of this run and of the runs that made its seed model; None if those released nothing."""
        account = self.account
        return epsilon(account.of_model, self.plan.delta, pld=pld) if account.inherited else None

    def of_population(self, *, pld: bool = True) -> Epsilon | None:
        """Epsilon of all runs on this population; None if there are no other runs."""
        account = self.account
        return epsilon(account.everything, self.plan.delta, pld=pld) if account.others else None

    def if_extrapolated(self, rounds: int, *, pld: bool = True) -> Epsilon:
        """Epsilon that `rounds` rounds of the extrapolated plan would have; not that of this run."""
        # A resumed run has released some rounds twice.
        released = max(self.extrapolated.releases_in(rounds), self.account.releases)
        return self.extrapolated.epsilon_of(released, pld=pld)
