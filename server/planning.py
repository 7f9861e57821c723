"""Whether so many speakers can carry a recipe, by arithmetic alone: told without waiting for torch."""

from __future__ import annotations

from recipes import ConfigError, RunConfig


def require_population(config: RunConfig, population: int) -> None:
    """Refuse a recipe that `population` speakers cannot carry.

    Raises
    ------
    ConfigError
        If the recipe was made for another population, the expected cohort is larger than it, or than one
        of the groups of `bands`, the cap leaves no room for the cohort, or delta is no promise to so many.
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
