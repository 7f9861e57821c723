"""Whether so many speakers can carry a recipe, by arithmetic alone: told without waiting for torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from recipes import ConfigError, RunConfig

if TYPE_CHECKING:
    from privacy import PrivacyPlan  # which loads torch

OVERHEAD_SECONDS = 10.0  # of a node in a round: its start, the model's way, a process that is replaced
RARELY = 1e-12  # how probable it may be that in any round a node has more drawn than there is time for


def require_population(config: RunConfig, population: int) -> None:
    """Refuse a recipe that `population` speakers cannot carry.

    Raises:
        ConfigError: If the recipe was made for another population, the expected cohort is larger than it, or
            than one of the groups of `bands`, the cap leaves no room for the cohort, or delta is no promise
            to so many.
    """
    privacy, cohort = config.privacy, config.training.cohort
    if privacy.population not in (0, population):
        raise ConfigError(
            f"privacy.population = {privacy.population}: the nodes hold {population} speakers; wait for "
            f"missing nodes (training.min-nodes), or plan for {population} (`murmur plan`) and say so here"
        )
    if cohort > population:
        raise ConfigError(
            f"training.cohort = {cohort:g}: the nodes hold only {population} speakers; "
            f"at most {population} can be expected in a round"
        )
    if privacy.bands * cohort > population:
        raise ConfigError(
            f"privacy.bands = {privacy.bands}: each round draws from one of so many groups, of "
            f"{population / privacy.bands:g} speakers here, fewer than training.cohort = {cohort:g}; use at "
            f"most {int(population / cohort)} bands"
        )
    if privacy.cohort_cap and not cohort <= privacy.cohort_cap <= population:
        raise ConfigError(
            f"privacy.cohort-cap = {privacy.cohort_cap}: it must lie between training.cohort = {cohort:g} "
            f"and the population, {population} speakers here; 0 is no cap"
        )
    if privacy.stamp != "none" and privacy.delta * population >= 1:
        raise ConfigError(
            f"privacy.delta = {privacy.delta:g}: to give away the whole speech of one of the {population} "
            f"speakers here would be as private; it must be below 1 / {population}, and 1 / N^1.1 is usual "
            f"({population**-1.1:.1g})"
        )


def with_time_for_all(
    config: RunConfig, plan: PrivacyPlan, counts: Sequence[int], *, simulated: bool
) -> RunConfig:
    """`config` with a deadline within which every node has time for all its drawn speakers.

    A node answers once, after all of them. If one speaker's training could take so long that the answer came
    too late, that speaker would decide about everybody's update, and sensitivity would be no longer C. So
    drawn speakers (`counts` by node; how many are drawn is known but for a probability of `RARELY` in all
    rounds) times `local.processor-seconds` must fit into the deadline. In a simulation, whose nodes share
    processors and are always there, the deadline becomes as long as all of them may take.

    Raises:
        ConfigError: If a private run in a deployment has too short a deadline.
    """
    seconds, deadline = config.local.processor_seconds, config.training.round_deadline_seconds
    if not plan.is_private:
        return config
    if simulated:
        needed = most_drawn(plan, sum(counts)) * seconds + OVERHEAD_SECONDS
        longer = {"round_deadline_seconds": max(deadline, needed)}
        return config.model_copy(update={"training": config.training.model_copy(update=longer)})
    drawn = most_drawn(plan, max(counts), nodes=len(counts))
    needed = drawn * seconds + OVERHEAD_SECONDS
    if needed > deadline:
        fits = math.floor(100 * (deadline - OVERHEAD_SECONDS) / drawn) / 100
        lower = f", or local.processor-seconds to {fits:g} or less" if fits > 0 else ""
        raise ConfigError(
            f"local.processor-seconds = {seconds:g}: up to {drawn} of the {max(counts)} speakers of one node "
            f"are drawn in a round and may take {needed:,.0f} s together, longer than "
            f"training.round-deadline-seconds = {deadline:g}; one slow speaker could then cost all others of "
            "the node their part in the round, which no epsilon covers. Set the deadline to "
            f"{math.ceil(needed)} or more{lower}"
        )
    return config


def most_drawn(plan: PrivacyPlan, speakers: int, *, nodes: int = 1) -> int:
    """The most of so many speakers of a node that are drawn in any round, on any of so many nodes, but for a
    probability of `RARELY`."""
    from scipy.stats import binom  # here, for it takes a while to load

    members = math.ceil(speakers / plan.bands)
    drawn = int(binom.isf(RARELY / (plan.rounds * nodes), members, plan.release.sampling_rate))
    return min(drawn, plan.cohort_cap) if plan.cohort_cap else drawn
