"""Checks whether a recipe fits a population: arithmetic only, so that it can run before torch is loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from recipes import ConfigError, RunConfig

if TYPE_CHECKING:
    from privacy import PrivacyPlan  # its import loads torch

OVERHEAD_SECONDS = 10.0  # of a node in a round: its start, the download of the model, a replaced process
RARELY = 1e-12  # accepted probability that a node, in any round, has more drawn speakers than time for them


def require_population(config: RunConfig, population: int) -> None:
    """Refuse a recipe that does not fit a population of `population` speakers.

    Raises:
        ConfigError: If the recipe was made for another population; if the expected cohort is larger than the
            population, or than one of the groups of `bands`; if the cap leaves no room for the cohort; or if
            delta is too large to protect anyone in this population.
    """
    privacy, cohort = config.privacy, config.training.cohort
    if privacy.population not in (0, population):
        raise ConfigError(
            f"privacy.population = {privacy.population}: the nodes hold {population} speakers; wait for the "
            f"missing nodes (training.min-nodes), or make a plan for {population} (`murmur plan`) and set "
            f"privacy.population = {population}"
        )
    if cohort > population:
        raise ConfigError(
            f"training.cohort = {cohort:g}: the nodes hold only {population} speakers; "
            f"set training.cohort to {population} or less"
        )
    if privacy.bands * cohort > population:
        raise ConfigError(
            f"privacy.bands = {privacy.bands}: each round draws from one of {privacy.bands} groups of "
            f"{population / privacy.bands:g} speakers, fewer than training.cohort = {cohort:g}; use at "
            f"most {int(population / cohort)} bands"
        )
    if privacy.cohort_cap and not cohort <= privacy.cohort_cap <= population:
        raise ConfigError(
            f"privacy.cohort-cap = {privacy.cohort_cap}: it must lie between training.cohort = {cohort:g} "
            f"and the population, {population} speakers here; 0 means no cap"
        )
    if privacy.stamp != "none" and privacy.delta * population >= 1:
        raise ConfigError(
            f"privacy.delta = {privacy.delta:g}: with this delta, a run that publishes all speech of one "
            f"randomly chosen speaker of these {population} would count as private; it must be below "
            f"1 / {population}, and 1 / N^1.1 is usual ({population**-1.1:.1g})"
        )


def with_time_for_all(
    config: RunConfig, plan: PrivacyPlan, counts: Sequence[int], *, simulated: bool
) -> RunConfig:
    """Return `config` with a deadline that gives every node enough time for all its drawn speakers.

    A node replies once, after all its drawn speakers. If the training of one speaker could take so long that
    the reply is late, this speaker would decide whether the updates of the others count, and the sensitivity
    would no longer be C. So (number of drawn speakers) x `local.processor-seconds` must fit into the
    deadline. The number of drawn speakers is bounded, with a probability of error of `RARELY` in all rounds
    together. The nodes of a simulation share processors and never leave, so their deadline is extended to the
    time that all of them may take.

    Args:
        config: The run configuration.
        plan: The privacy plan.
        counts: Number of speakers of each node.
        simulated: Whether the nodes are simulated.

    Raises:
        ConfigError: If the deadline of a private run outside a simulation is too short.
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
        lower = f", or set local.processor-seconds to {fits:g} or less" if fits > 0 else ""
        raise ConfigError(
            f"local.processor-seconds = {seconds:g}: up to {drawn} of the {max(counts)} speakers of one node "
            f"are drawn in a round and may take {needed:,.0f} s together, longer than "
            f"training.round-deadline-seconds = {deadline:g}. One slow speaker could then exclude all other "
            "speakers of the node from the round, and no epsilon covers that. Set the deadline to "
            f"{math.ceil(needed)} or more{lower}"
        )
    return config


def most_drawn(plan: PrivacyPlan, speakers: int, *, nodes: int = 1) -> int:
    """Return an upper bound on the drawn speakers of one node in one round.

    Guarantee: the probability that any of `nodes` nodes, each with `speakers` speakers, has more drawn
    speakers in any round of the plan is at most `RARELY`.
    """
    from scipy.stats import binom  # imported here because it takes a while to load

    members = math.ceil(speakers / plan.bands)
    drawn = int(binom.isf(RARELY / (plan.rounds * nodes), members, plan.release.sampling_rate))
    return min(drawn, plan.cohort_cap) if plan.cohort_cap else drawn
