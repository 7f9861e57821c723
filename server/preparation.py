"""From a run configuration to what a run is made of: model, plan, clip bounds, server step."""

from __future__ import annotations

from dataclasses import fields

from privacy import ClipBounds, Grid, LayerLayout, PrivacyPlan, QuantileClip
from privacy.statistics import STATISTICS
from recipes import ConfigError, RunConfig, seed_model
from recipes.privacy_section import PrivacySection
from recipes.sections import ModelSection, ServerSection
from speech.checkpoint import load_model
from speech.model import PRESETS, CTCTransformer, build_model
from strategies.optimisers import ServerOptimiser, make_optimiser, settings_of
from strategies.schedules import Schedule, ScheduleSettings, make_schedule


def starting_model(section: ModelSection, language: str) -> CTCTransformer:
    """The seed model, or a random one, that writes `language`.

    Raises
    ------
    ConfigError
        For an unknown preset.
    CheckpointMismatch
        If the seed is not a model of that preset and language.
    """
    if section.preset not in PRESETS:
        raise ConfigError(f"model.preset = {section.preset!r}: known presets are {sorted(PRESETS)}")
    if section.seed == "random":
        return build_model(section.preset, language)
    return load_model(seed_model(section.seed), preset=section.preset, language=language).model


def make_plan(config: RunConfig, population: int) -> PrivacyPlan:
    """The privacy plan for the population that the nodes really hold.

    Raises
    ------
    ConfigError
        If the recipe was made for another population, the expected cohort is larger than it, or than one
        of the groups of `bands`, delta is no promise to so many, or no noise makes epsilon what it should be.
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
    shape = {
        "population": population,
        "cohort": cohort,
        "rounds": config.training.rounds,
        "delta": privacy.delta,
        "bands": privacy.bands,
        "cohort_cap": privacy.cohort_cap,
    }
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
    try:
        if privacy.target_epsilon > 0:
            return PrivacyPlan.calibrate(target_epsilon=privacy.target_epsilon, **shape)
        return PrivacyPlan(
            noise_multiplier=privacy.noise_multiplier,
            epsilon_budget=privacy.epsilon_budget or None,
            noise_source=privacy.noise_source,
            noise_seed=privacy.noise_seed,
            **shape,
        )
    except ValueError as error:
        name = "target-epsilon" if privacy.target_epsilon > 0 else "noise-multiplier"
        value = getattr(privacy, name.replace("-", "_"))
        raise ConfigError(f"privacy.{name} = {value:g}: this run cannot have it ({error})") from error


def make_extrapolated(config: RunConfig, plan: PrivacyPlan) -> PrivacyPlan:
    """The plan at the scale that the recipe extrapolates to.

    Raises
    ------
    ConfigError
        If the same sigma_DP, or the bands, cannot be had there.
    """
    section = config.privacy
    try:
        return plan.extrapolate(section.extrapolate_population, section.extrapolate_cohort)
    except ValueError as error:
        raise ConfigError(
            f"privacy.extrapolate-population = {section.extrapolate_population}, "
            f"privacy.extrapolate-cohort = {section.extrapolate_cohort:g}: this run's noise cannot be "
            f"extrapolated there ({error})"
        ) from error


def make_bounds(section: PrivacySection, layout: LayerLayout) -> tuple[ClipBounds, Grid]:
    """Clip bounds of the released vector (model and statistics) and its grid.

    Raises
    ------
    ConfigError
        For a bound that cannot be had in 32-bit numbers.
    """
    try:
        bounds = ClipBounds.of(
            section.clip_rule,
            section.clip_bound,
            layout,
            action=section.clip_action,
            exponent=section.clip_exponent,
            statistics=len(STATISTICS),
            adaptive=section.adaptive_clip,
        )
        return bounds, Grid.of(bounds, bits=section.grid_bits)
    except ValueError as error:
        raise ConfigError(f"privacy.clip-bound = {section.clip_bound:g}: {error}") from error


def make_server_step(section: ServerSection, layout: LayerLayout) -> tuple[ServerOptimiser, Schedule]:
    """The server optimiser, with those of the section's settings that it has, and its schedule."""
    wanted = {name: getattr(section, name) for name in settings_of(section.optimiser)}
    shape = {field.name: getattr(section, field.name) for field in fields(ScheduleSettings)}
    schedule = make_schedule(section.schedule, ScheduleSettings(**shape))
    return make_optimiser(section.optimiser, layout, **wanted), schedule


def make_adaptive(section: PrivacySection) -> QuantileClip | None:
    """How the clip bounds follow the updates, if they do."""
    if not section.adaptive_clip:
        return None
    return QuantileClip(quantile=section.adaptive_quantile, rate=section.adaptive_rate)
