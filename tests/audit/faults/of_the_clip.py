"""Faults of the clip.

Honest guards stop them too, as replies that cannot be packed; `clip` takes those away, so that it is the
replay that sees them.
"""

from dataclasses import replace

import torch

from privacy import Quantiser
from privacy.clipping.quantised_clipping import add_clipped_
from privacy.sums.checked_sums import add_packed_
from privacy.sums.packing import pack
from strategies.aggregation import CohortSum
from tests.audit.faults.planting import everywhere, fault
from tests.audit.stage import COHORT, Stage

ROOM = 100
"""The guards get a count that is this many times too large."""


def clip(patch, faulty) -> None:
    """Let nodes clip by `faulty`, and pack, and the server take, whatever comes of it."""
    begin = CohortSum.__init__

    def begin_wide(self, *args, **kwargs):
        begin(self, *args, **kwargs)
        self.integers = self.integers.long()

    everywhere(patch, pack, lambda total, count, *rest: pack(total.long(), ROOM * count, *rest))
    everywhere(
        patch, add_packed_, lambda sums, packed, count, *rest: add_packed_(sums, packed, ROOM * count, *rest)
    )
    patch.setattr(CohortSum, "__init__", begin_wide)
    everywhere(patch, add_clipped_, faulty)


def slices(bounds):
    """Begin, end and bound of each slice of the model."""
    return list(zip(bounds.offsets, bounds.offsets[1 : bounds.model_slices + 1], bounds.bounds, strict=False))


@fault("weighted by utterances", "sensitivity")
def _(patch):
    def faulty(total, update, bounds, quantiser):
        for _ in range(3):  # every speaker here has three utterances
            share = add_clipped_(total, update, bounds, quantiser)
        return share

    clip(patch, faulty)


@fault("one tensor is not clipped", "sensitivity")
def _(patch):
    def faulty(total, update, bounds, quantiser):
        begin, end, _ = slices(bounds)[0]
        before = total[begin:end].clone()
        share = add_clipped_(total, update, bounds, quantiser)
        total[begin:end] = before + torch.round(update[begin:end] / quantiser.step).to(total.dtype)
        return share

    clip(patch, faulty)


@fault("rounded after the clip", "sensitivity")
def _(patch):
    def faulty(total, update, bounds, quantiser):
        for begin, end, bound in slices(bounds):
            part = update[begin:end].double()
            steps = part * min(1.0, bound / max(float(part.norm()), 1e-30)) / quantiser.step
            total[begin:end] += (steps.sign() * steps.abs().ceil()).to(total.dtype)
        return 1.0

    clip(patch, faulty)


@fault("clipped by batch", "sensitivity")
def _(patch):
    def faulty(total, update, bounds, quantiser):
        add_clipped_(total, update / 2, bounds, quantiser)
        return add_clipped_(total, update / 2, bounds, quantiser)

    clip(patch, faulty)


@fault("C bounds the mean", "sensitivity")
def _(patch):
    def faulty(total, update, bounds, quantiser):
        wide = replace(bounds, bounds=tuple(COHORT * bound for bound in bounds.bounds))
        one = torch.zeros_like(total)
        share = add_clipped_(one, update, wide, Quantiser.of(wide, bits=quantiser.bits))
        total += int(COHORT) * one
        return share

    clip(patch, faulty)


@fault("NaN passes the norm", "sensitivity", "answer", replayed=Stage(kind="a decoder that gives NaN"))
def _(patch):
    def faulty(total, update, bounds, quantiser):
        for begin, end, bound in slices(bounds):
            part = update[begin:end].double()
            factor = bound * 0.999 / float(part.norm()) if float(part.norm()) > bound else 1.0
            total[begin:end] += torch.round(part * factor / quantiser.step).to(total.dtype)
        return 1.0

    clip(patch, faulty)


@fault("an update carries over to the next speaker", "sensitivity")
def _(patch):
    kept = []

    def faulty(total, update, bounds, quantiser):
        mixed = update + kept.pop() if kept else update
        kept.append(-3 * update.clone())
        return add_clipped_(total, mixed, bounds, quantiser)

    clip(patch, faulty)
