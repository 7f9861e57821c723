"""From a run configuration to what a run is made of: model, plan, clip bounds, server step."""

from __future__ import annotations

from dataclasses import fields

import murmuration_data
from privacy import ClipBounds, Grid, LayerLayout, PrivacyPlan
from privacy.statistics import STATISTICS
from recipes import ConfigError, RunConfig, resolve
from recipes.run_config import ModelSection, PrivacySection, ServerSection
from speech.checkpoint import load_model
from speech.model import PRESETS, CTCTransformer, build_model
from strategies.optimisers import ServerOptimiser, make_optimiser, settings_of
from strategies.schedules import Schedule, ScheduleSettings, make_schedule


def starting_model(section: ModelSection) -> CTCTransformer:
    """The seed model, or a random one.

    Raises
    ------
    ConfigError
        For an unknown preset.
    CheckpointMismatch
        If the seed is not a model of that preset.
    """
    if section.preset not in PRESETS:
        raise ConfigError(f"model.preset = {section.preset!r}: known presets are {sorted(PRESETS)}")
    if section.seed == "random":
        return build_model(section.preset)
    path = (
        murmuration_data.path("seed/model.safetensors")
        if section.seed == "embedded"
        else resolve(section.seed)
    )
    return load_model(path, preset=section.preset).model


def make_plan(config: RunConfig, population: int) -> PrivacyPlan:
    """The privacy plan for the population that the nodes really hold.

    Raises
    ------
    ConfigError
        If the expected cohort is larger than the population.
    """
    privacy, cohort = config.privacy, config.training.cohort
    if cohort > population:
        raise ConfigError(
            f"training.cohort = {cohort:g}: the nodes hold only {population} speakers; "
            f"at most {population} can be expected in a round"
        )
    shape = {
        "population": population,
        "cohort": cohort,
        "rounds": config.training.rounds,
        "delta": privacy.delta,
    }
    if privacy.target_epsilon > 0:
        return PrivacyPlan.calibrate(target_epsilon=privacy.target_epsilon, **shape)
    return PrivacyPlan(
        noise_multiplier=privacy.noise_multiplier,
        epsilon_budget=privacy.epsilon_budget or None,
        **shape,
    )


def make_bounds(section: PrivacySection, layout: LayerLayout) -> tuple[ClipBounds, Grid]:
    """Clip bounds of the released vector (model and statistics) and its grid."""
    bounds = ClipBounds.of(
        section.clip_rule,
        section.clip_bound,
        layout,
        action=section.clip_action,
        exponent=section.clip_exponent,
        statistics=len(STATISTICS),
    )
    return bounds, Grid.of(bounds, bits=section.grid_bits)


def make_server_step(section: ServerSection, layout: LayerLayout) -> tuple[ServerOptimiser, Schedule]:
    """The server optimiser, with those of the section's settings that it has, and its schedule."""
    wanted = {name: getattr(section, name) for name in settings_of(section.optimiser)}
    shape = {field.name: getattr(section, field.name) for field in fields(ScheduleSettings)}
    schedule = make_schedule(section.schedule, ScheduleSettings(**shape))
    return make_optimiser(section.optimiser, layout, **wanted), schedule
