"""From a run configuration to what a run is made of: model, plan, clip bounds, server step."""

from __future__ import annotations

from dataclasses import fields

from optim import ServerOptimiser, make_optimiser, settings_of
from optim.schedules import Schedule, ScheduleSettings, make_schedule
from privacy import ClipBounds, LayerLayout, PrivacyPlan, QuantileClip, Quantiser
from privacy.released_metrics import STATISTICS
from recipes import ConfigError, RunConfig, seed_model
from recipes.privacy_section import PrivacySection
from recipes.sections import ModelSection, ServerSection
from server.planning import require_population
from speech.model.checkpoint import load_model
from speech.model.ctc_transformer import CTCTransformer, build_model
from speech.text import Alphabet


def starting_model(section: ModelSection, language: str | Alphabet) -> CTCTransformer:
    """The seed model, or a random one, that transcribes `language`.

    Raises:
        CheckpointMismatch: If the seed is not a model of that preset, with the characters of that language.
    """
    if section.seed == "random":
        return build_model(section.preset, language)
    return load_model(seed_model(section.seed), preset=section.preset, language=language).model


def make_plan(config: RunConfig, population: int) -> PrivacyPlan:
    """The privacy plan for the population that the nodes really hold.

    Raises:
        ConfigError: If such a population does not fit the recipe (`require_population`), or no noise makes
            epsilon what it should be.
    """
    require_population(config, population)
    privacy = config.privacy
    shape = {
        "population": population,
        "cohort": config.training.cohort,
        "rounds": config.training.rounds,
        "delta": privacy.delta,
        "bands": privacy.bands,
        "cohort_cap": privacy.cohort_cap,
    }
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

    Raises:
        ConfigError: If the same sigma_DP, or the bands, cannot be had there.
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


def make_bounds(section: PrivacySection, layout: LayerLayout) -> tuple[ClipBounds, Quantiser]:
    """Clip bounds of the released vector (model and statistics) and its grid.

    Raises:
        ConfigError: For a bound that cannot be had in 32-bit numbers.
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
        return bounds, Quantiser.of(bounds, bits=section.quantisation_bits)
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
