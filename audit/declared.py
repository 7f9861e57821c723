"""What one recorded run must hold by itself: that it did what plan and ledger declare.

These checks are for plans without bands, whose every round is one release with the same noise everywhere.
They read what was *asked* of the sampler and the source, never a random outcome, so they have no false
alarms; only whether two streams of noise are the same is a comparison of random values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from audit.findings import Finding
from audit.trace import (
    Answered,
    Asked,
    Collected,
    Drawn,
    Dropped,
    Event,
    Logged,
    Noised,
    Published,
    Queried,
    Query,
    Spent,
    Stepped,
    Trace,
    only,
)
from privacy import PrivacyPlan

ROUND = (Drawn, Asked, Answered, Collected, Spent, Queried, Noised, Stepped, Published)
"""A round's primitives, each once and in this order; noise comes in one or more blocks."""
BESIDE = (Logged, Dropped)
"""What may come between; a replay compares it."""
RUN = 16
"""So many values in a row that are the same are no chance: below 2^-128 with noise of 2^8 steps or more."""

Complaints = Iterator[tuple[str, str]]
Events = tuple[Event, ...]


def check_declared(trace: Trace, plan: PrivacyPlan) -> list[Finding]:
    """Where the run is not the one that `plan` accounts for.

    Guarantee: an empty list means that every round drew by independent coins at the ledger's rate, spent
    before it noised, covered every released value with the plan's noise from the secure source, divided by
    the plan's cohort, and had from its nodes nothing but sums of a length that their count decides.
    """
    return [
        Finding(what=what, round_number=number, detail=detail)
        for number in trace.rounds
        for check in CHECKS
        for what, detail in check(trace.events_of(number), plan)
    ]


def check_fresh_noise(*traces: Trace) -> list[Finding]:
    """Noise that came twice, in one run or in several (which stand for a run and its restarts)."""
    queries = [query for trace in traces for query in trace.queries]
    return [
        Finding(what="repeated noise", round_number=later.round_number, detail="it is that of an earlier one")
        for place, later in enumerate(queries)
        if any(_share_noise(earlier, later) for earlier in queries[:place])
    ]


def _share_noise(one: Query, other: Query) -> bool:
    runs = min(one.noise.size, other.noise.size) // RUN
    left, right = (query.noise[: runs * RUN].reshape(runs, RUN) for query in (one, other))
    return bool(np.any((left == right).all(axis=1) & left.any(axis=1)))


def _order(events: Events, plan: PrivacyPlan) -> Complaints:
    kinds = [type(event) for event in events if not isinstance(event, BESIDE)]
    blocks = [kind for place, kind in enumerate(kinds) if [kind, Noised] != [Noised, *kinds[:place][-1:]]]
    if tuple(blocks) != ROUND:
        yield "order", " ".join(kind.__name__ for kind in kinds)


def _coins(events: Events, plan: PrivacyPlan) -> Complaints:
    """One coin for each of N people, at the rate of the plan, and the ledger is charged for that rate."""
    expected = ((plan.population, plan.sampling_rate),)
    for drawn in only(Drawn, events):
        if drawn.coins != expected:
            yield "sampler", f"asked for {drawn.coins}, declared is {expected}"
    for spent in only(Spent, events):
        if spent.rate != plan.sampling_rate:
            yield "ledger", f"it has the rate {spent.rate}, drawn was at {plan.sampling_rate}"


def _spent(events: Events, plan: PrivacyPlan) -> Complaints:
    for spent in only(Spent, events):
        if spent.noise_multiplier != plan.noise_multiplier or spent.count != 1:
            yield "ledger", f"{spent.count} releases of z = {spent.noise_multiplier}, the plan has {plan}"
    for query in only(Queried, events):
        if query.on_disk != query.round_number:
            yield "ledger", f"{query.on_disk} entries on disk at the release of round {query.round_number}"


def _noised(events: Events, plan: PrivacyPlan) -> Complaints:
    """Every released value once, with at least the noise that the plan declares."""
    for query in only(Queried, events):
        if not query.secure:
            yield "source", "the noise does not come from SecureGaussian"
        least, covered = query.quantiser.noise_std_steps(plan.noise_multiplier), 0
        for block in only(Noised, events):
            if not block.whole or block.begin != covered:
                yield "noise", f"values {block.begin} to {block.end}: some left without it"
            if any(std < least * (1 - 1e-12) for std in block.stds):
                yield "noise", f"values {block.begin} to {block.end}: {block.stds} steps, declared {least}"
            covered = block.end
        if covered != query.size:
            yield "noise", f"{covered} of {query.size} values were noised"


def _divided(events: Events, plan: PrivacyPlan) -> Complaints:
    """The optimiser is given the release in units of the update, over the expected cohort."""
    for query in only(Queried, events):
        for step in only(Stepped, events):
            if not math.isclose(step.unit * plan.cohort, query.quantiser.step, rel_tol=1e-6):
                yield (
                    "divisor",
                    f"{query.quantiser.step / step.unit:.6g}, the plan's cohort is {plan.cohort:g}",
                )


def _answers(events: Events, plan: PrivacyPlan) -> Complaints:
    """Every node that was asked gave a sum, of the declared length, and nothing beside it."""
    for answered in only(Answered, events):
        for node, told in answered.replies.items():
            if told.outcome != "sum":
                yield "answer", f"node {node}: {told.outcome}"
            if told.size != told.declared_size:
                yield "length", f"node {node}: {told.size} bytes, declared {told.declared_size}"
            if told.extra:
                yield "extra", f"node {node}: {sorted(told.extra)}"


CHECKS: tuple[Callable[[Events, PrivacyPlan], Complaints], ...] = (
    _order,
    _coins,
    _spent,
    _noised,
    _divided,
    _answers,
)
