"""Checks of a single recorded run: it did what plan and ledger declare.

The checks are for plans without bands, in which every round is one release with the same noise on all values.
They read the *requests* to the sampler and the noise source, never a random outcome, so they have no false
alarms. Only the comparison of two noise streams reads random values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from audit.trace import (
    Answered,
    Asked,
    Collected,
    Drawn,
    Event,
    Logged,
    NodesDropped,
    Noised,
    Published,
    Queried,
    Query,
    Spent,
    Stepped,
    Trace,
    only,
)
from audit.violations import Violation
from privacy import PrivacyPlan

ROUND = (Drawn, Asked, Answered, Collected, Spent, Queried, Noised, Stepped, Published)
"""The primitives of a round, each once and in this order; noise has one or more blocks."""
BESIDE = (Logged, NodesDropped)
"""Events that may occur between the primitives; a replay compares them."""
RUN = 16
"""This many equal values in a row have a probability below 2^-128 with noise of 2^8 steps or more."""

Problems = Iterator[tuple[str, str]]
"""Pairs of a word for the broken promise and its detail."""
Events = tuple[Event, ...]


def check_declared(trace: Trace, plan: PrivacyPlan) -> list[Violation]:
    """The differences between a run and the run that `plan` accounts for.

    Guarantee:
        An empty list means: every round drew by independent coins at the ledger's rate, spent before it added
        noise, covered every released value with the plan's noise from the secure source, divided by the
        plan's cohort, and received from its nodes only sums whose length depends on their count alone.
    """
    return [
        Violation(what=what, round_number=number, detail=detail)
        for number in trace.rounds
        for check in CHECKS
        for what, detail in check(trace.events_of(number), plan)
    ]


def check_fresh_noise(*traces: Trace) -> list[Violation]:
    """Repeated noise, in one run or in several runs (which stand for a run and its restarts)."""
    queries = [query for trace in traces for query in trace.queries]
    return [
        Violation(what="repeated noise", round_number=later.round_number, detail="equal to an earlier one")
        for place, later in enumerate(queries)
        if any(_share_noise(earlier, later) for earlier in queries[:place])
    ]


def _share_noise(one: Query, other: Query) -> bool:
    runs = min(one.noise.size, other.noise.size) // RUN
    left, right = (query.noise[: runs * RUN].reshape(runs, RUN) for query in (one, other))
    return bool(np.any((left == right).all(axis=1) & left.any(axis=1)))


def _order(events: Events, plan: PrivacyPlan) -> Problems:
    kinds = [type(event) for event in events if not isinstance(event, BESIDE)]
    blocks = [kind for place, kind in enumerate(kinds) if [kind, Noised] != [Noised, *kinds[:place][-1:]]]
    if tuple(blocks) != ROUND:
        yield "order", " ".join(kind.__name__ for kind in kinds)


def _coins(events: Events, plan: PrivacyPlan) -> Problems:
    """One coin for each of N speakers, at the plan's rate, and the ledger is charged for that rate."""
    expected = ((plan.population, plan.sampling_rate),)
    for drawn in only(Drawn, events):
        if drawn.coins != expected:
            yield "sampler", f"requested {drawn.coins}, declared {expected}"
    for spent in only(Spent, events):
        if spent.rate != plan.sampling_rate:
            yield "ledger", f"its rate is {spent.rate}, the cohort was drawn at {plan.sampling_rate}"


def _spent(events: Events, plan: PrivacyPlan) -> Problems:
    for spent in only(Spent, events):
        if spent.noise_multiplier != plan.noise_multiplier or spent.count != 1:
            yield "ledger", f"{spent.count} releases of z = {spent.noise_multiplier}, the plan has {plan}"
    for query in only(Queried, events):
        if query.on_disk != query.round_number:
            yield "ledger", f"{query.on_disk} entries on disk at the release of round {query.round_number}"


def _noised(events: Events, plan: PrivacyPlan) -> Problems:
    """Every value is released once, with at least the noise that the plan declares."""
    for query in only(Queried, events):
        if not query.secure:
            yield "source", "the noise is not from SecureGaussian"
        least, covered = query.quantiser.noise_std_steps(plan.noise_multiplier), 0
        for block in only(Noised, events):
            if not block.whole or block.begin != covered:
                yield "noise", f"values {block.begin} to {block.end}: some were released without noise"
            if any(std < least * (1 - 1e-12) for std in block.stds):
                yield "noise", f"values {block.begin} to {block.end}: {block.stds} steps, declared {least}"
            covered = block.end
        if covered != query.size:
            yield "noise", f"{covered} of {query.size} values were noised"


def _divided(events: Events, plan: PrivacyPlan) -> Problems:
    """The optimiser receives the release in units of the update, divided by the expected cohort."""
    for query in only(Queried, events):
        for step in only(Stepped, events):
            if not math.isclose(step.unit * plan.cohort, query.quantiser.step, rel_tol=1e-6):
                yield (
                    "divisor",
                    f"{query.quantiser.step / step.unit:.6g}, the plan's cohort is {plan.cohort:g}",
                )


def _answers(events: Events, plan: PrivacyPlan) -> Problems:
    """Every node with a task returned a sum of the declared length, and nothing else."""
    for answered in only(Answered, events):
        for node, reply in answered.replies.items():
            if reply.outcome != "sum":
                yield "answer", f"node {node}: {reply.outcome}"
            if reply.size != reply.declared_size:
                yield "length", f"node {node}: {reply.size} bytes, declared {reply.declared_size}"
            if reply.extra:
                yield "extra", f"node {node}: {sorted(reply.extra)}"


CHECKS: tuple[Callable[[Events, PrivacyPlan], Problems], ...] = (
    _order,
    _coins,
    _spent,
    _noised,
    _divided,
    _answers,
)
