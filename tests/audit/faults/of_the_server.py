"""Faults of sampler, ledger, divisor and of what the server does next."""

from dataclasses import replace

import numpy as np
from flwr.app import ConfigRecord

import strategies.dp_fed_opt
from privacy.clipping.adaptive import QuantileClip
from privacy.kernels import scale_into_
from privacy.ledger.ledger import Ledger
from privacy.plan import PrivacyPlan
from strategies import DPFedOpt
from strategies.aggregation import CohortSum
from tests.audit.faults.planting import everywhere, fault
from tests.audit.stage import COHORT, Stage, Z


@fault("drawn without replacement", "sampler", recorded=None)
def _(patch):
    def fixed_size(plan, step):
        return np.sort(np.random.default_rng().choice(plan.population, int(plan.cohort), replace=False))

    patch.setattr(strategies.dp_fed_opt, "draw_cohort", fixed_size)


@fault("another q in the ledger", "ledger", recorded=None)
def _(patch):
    charge = PrivacyPlan.charge
    patch.setattr(
        PrivacyPlan,
        "charge",
        lambda self, step: replace(charge(self, step), sampling_rate=self.sampling_rate / 2),
    )


@fault("another z in the ledger", "ledger", recorded=None)
def _(patch):
    charge = PrivacyPlan.charge
    patch.setattr(
        PrivacyPlan, "charge", lambda self, step: replace(charge(self, step), noise_multiplier=2 * Z)
    )


@fault("a release is not in the ledger", "ledger", recorded=None)
def _(patch):
    spend = Ledger.spend
    patch.setattr(
        Ledger,
        "spend",
        lambda self, release, **names: None if names["round"] == 2 else spend(self, release, **names),
    )


@fault("spent after the release", "order", "ledger", recorded=None)
def _(patch):
    release = DPFedOpt._release

    def late(self, number, total):
        ledger, self.ledger = self.ledger, Unwritten()
        try:
            return release(self, number, total)
        finally:
            self.ledger = ledger
            ledger.spend(self.plan.charge(0), run=self.run.run_id, dataset=self.run.dataset, round=number)

    patch.setattr(DPFedOpt, "_release", late)


class Unwritten:
    """A ledger that nothing is written in."""

    def spend(self, *args, **kwargs):
        pass


@fault("an empty cohort is skipped", "sequence", recorded=Stage(person="g"), replayed=Stage(person=""))
def _(patch):
    finish = DPFedOpt.finish_round

    def skipping(self, number, replies):
        return finish(self, number, replies) if self._round.tasks else list(replies)

    patch.setattr(DPFedOpt, "finish_round", skipping)


@fault("a failed node is retried with a new draw", "order", silent=(2,), recorded=None)
def _(patch):
    finish = DPFedOpt.finish_round

    def retrying(self, number, replies):
        replies = list(replies)
        if len(replies) < len(self._round.tasks):
            self.configure_train(number, self.arrays(), ConfigRecord(), None)
        return finish(self, number, replies)

    patch.setattr(DPFedOpt, "finish_round", retrying)


@fault("divided by those who took part", "divisor", recorded=None)
def _(patch):
    counts = []
    init, add = CohortSum.__init__, CohortSum.add

    def counting(self, node, answer):
        add(self, node, answer)
        counts[-1] += answer.count

    def beginning(self, *args, **kwargs):
        init(self, *args, **kwargs)
        counts.append(0)

    patch.setattr(CohortSum, "__init__", beginning)
    patch.setattr(CohortSum, "add", counting)
    everywhere(
        patch,
        scale_into_,
        lambda into, block, factor: scale_into_(into, block, factor * COHORT / max(counts[-1], 1)),
    )


@fault("the server's step knows the norm before the noise", "divisor", "metadata")
def _(patch):
    release = DPFedOpt._release

    def knowing(self, number, total):
        norm = float(total.integers.double().norm()) * self.quantiser.step
        return release(self, number, total).mul_(1 / (norm + 1e-3))

    patch.setattr(DPFedOpt, "_release", knowing)


@fault("bounds follow bits before the noise", "metadata")
def _(patch):
    release, following = DPFedOpt._release, QuantileClip.next_bounds
    plain = []

    def remembering(self, number, total):
        plain.append(total.integers[self.bounds.indicators_part].double())
        return release(self, number, total)

    patch.setattr(DPFedOpt, "_release", remembering)
    patch.setattr(QuantileClip, "next_bounds", lambda self, _, *rest: following(self, plain[-1], *rest))
