"""Makes the parts of a run from its configuration: model, privacy plan, clip bounds, server step."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from optim import ServerOptimiser, make_optimiser, settings_of
from optim.schedules import Schedule, ScheduleSettings, make_schedule
from privacy import ClipBounds, LayerLayout, PrivacyPlan, QuantileClip, Quantiser
from privacy.group_statistics import bounds_with_statistics
from recipes import ConfigError, RunConfig, seed_model
from recipes.model_section import BASE, RANDOM, ModelSection
from recipes.privacy_section import PrivacySection
from recipes.sections import ServerSection
from server.planning import require_population
from speech.model.checkpoint import load_weights
from speech.model.choice import BASE_SEED, ModelChoice
from speech.model.recogniser import Recogniser
from speech.text import Alphabet, alphabet_of

SEEDS_WITHOUT_WEIGHTS = (BASE, RANDOM)


def starting_model(
    section: ModelSection,
    language: str | Alphabet,
    *,
    random_seed: int | None = None,
    dropout: float | None = None,
    layer_drop: float | None = None,
) -> Recogniser:
    """Return the model that a training starts from, with its adapters, whose output is in `language`.

    Its input is that of the present release, whatever the seed model was trained on: so it is on every node.

    Args:
        section: A section `model`.
        language: A registered language, or the characters of the corpus.
        random_seed: Fixes the parameters of the seed "random"; None for others every time.
        dropout: Instead of the model's own.
        layer_drop: Instead of the preset's; a pre-trained model has none unless it is given.

    Raises:
        CheckpointMismatch: If the seed is another model, or has not the characters of that language.
        ModelError: If there is no such model here, or it cannot have such adapters.
    """
    choice, alphabet = ModelChoice.of(**section.rules), alphabet_of(language)
    if section.digest:
        choice.model_folder.require_digest(section.digest)
    seed = random_seed if section.seed == RANDOM else BASE_SEED
    model = choice.make(alphabet, seed=seed, dropout=dropout, layer_drop=layer_drop)
    if section.seed not in SEEDS_WITHOUT_WEIGHTS:
        load_weights(model, seed_model(section.seed), choice)
    return model.eval()


def make_plan(config: RunConfig, population: int) -> PrivacyPlan:
    """Return the privacy plan for the population that the nodes reported.

    Raises:
        ConfigError: If the population does not fit the recipe (`require_population`), or no noise multiplier
            reaches the target epsilon.
    """
    require_population(config, population)
    privacy = config.privacy
    shape: dict[str, Any] = {
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
        raise ConfigError(f"privacy.{name} = {value:g}: not possible in this run ({error})") from error


def make_extrapolated(config: RunConfig, plan: PrivacyPlan) -> PrivacyPlan:
    """Return the plan with the population and the cohort that the recipe extrapolates to.

    Raises:
        ConfigError: If the same sigma_DP, or the bands, are not possible there.
    """
    section = config.privacy
    try:
        return plan.extrapolate(section.extrapolate_population, section.extrapolate_cohort)
    except ValueError as error:
        raise ConfigError(
            f"privacy.extrapolate-population = {section.extrapolate_population}, "
            f"privacy.extrapolate-cohort = {section.extrapolate_cohort:g}: the noise of this run "
            f"cannot be extrapolated to them ({error})"
        ) from error


def make_bounds(section: PrivacySection, layout: LayerLayout) -> tuple[ClipBounds, Quantiser]:
    """Return the clip bounds of the released vector (model and statistics), and its quantiser.

    Args:
        section: The run's `privacy` section.
        layout: The trained tensors, in the order that `bind` gives them with the section's clip groups.

    Raises:
        ConfigError: If a bound cannot be represented in 32-bit numbers.
    """
    try:
        bounds = bounds_with_statistics(
            section.clip_rule,
            section.clip_bound,
            layout,
            action=section.clip_action,
            exponent=section.clip_exponent,
            clip_groups=section.groups,
            by_group=section.group_statistics,
            adaptive=section.adaptive_clip,
        )
        return bounds, Quantiser.of(bounds, bits=section.quantisation_bits)
    except ValueError as error:
        raise ConfigError(f"privacy.clip-bound = {section.clip_bound:g}: {error}") from error


def make_server_step(section: ServerSection, layout: LayerLayout) -> tuple[ServerOptimiser, Schedule]:
    """Return the server optimiser, with the settings of the section that it takes, and its schedule."""
    known = [name for name in settings_of(section.optimiser) if name in type(section).model_fields]
    wanted = {name: getattr(section, name) for name in known}  # the rest is of another package's optimiser
    wanted |= section.own_settings()
    shape = {field.name: getattr(section, field.name) for field in fields(ScheduleSettings)}
    schedule = make_schedule(section.schedule, ScheduleSettings(**shape))
    return make_optimiser(section.optimiser, layout, **wanted), schedule


def make_adaptive(section: PrivacySection) -> QuantileClip | None:
    """Return the rule of adaptive clip bounds, or None where the bounds are fixed."""
    if not section.adaptive_clip:
        return None
    return QuantileClip(quantile=section.adaptive_quantile, rate=section.adaptive_rate)
