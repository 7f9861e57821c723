"""The section `privacy` of the run configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from base.clip_groups import ClipGroups
from base.registries import CLIP_RULES, NOISE_SHAPES
from base.settings import Count, Fraction, NotNegative, Positive, Section, WholeNumber, name_of

ClipRuleName = Annotated[str, name_of(CLIP_RULES)]
CLIP_ACTIONS = Literal["clip", "normalise"]
NOISE_SOURCES = Literal["secure", "seeded-not-private"]
NoiseShapeName = Annotated[str, name_of(NOISE_SHAPES)]


def _readable_groups(text: str) -> str:
    ClipGroups.read(text)
    return text


ClipGroupsText = Annotated[str, AfterValidator(_readable_groups)]


class PrivacySection(Section):
    """What is promised to a speaker."""

    population: WholeNumber = Field(
        description="N that the run was planned for, refused if the nodes hold another; 0: what they hold"
    )
    noise_multiplier: NotNegative = Field(
        description="z: std of the noise on the sum in units of the clip bound; 0 is no privacy"
    )
    target_epsilon: NotNegative = Field(description="if above 0, z is calibrated to it instead")
    delta: Annotated[float, Field(gt=0, lt=1)] = Field(description="delta of the guarantee")
    epsilon_budget: NotNegative = Field(description="stop before passing it; 0: no budget")
    clip_rule: ClipRuleName = Field(description="how the clip bound is split over the layers")
    clip_exponent: Fraction = Field(description="p of the rule 'power', C_h ~ d_h^p; others ignore it")
    clip_groups: ClipGroupsText = Field(
        description="parts of the model with shares of C^2, 'pattern=share,...', that the rule splits apart"
    )
    clip_action: CLIP_ACTIONS = Field(description="'clip' (Definition 3) or 'normalise'")
    clip_bound: Positive = Field(description="C, the bound on one speaker's whole update")
    noise_shape: NoiseShapeName = Field(
        description="noise equal everywhere, or per layer with the least total variance at the same z"
    )
    adaptive_clip: bool = Field(
        description="let each layer's bound follow a quantile of the norms, from noised bits"
    )
    adaptive_quantile: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="share of updates that shall stay within their bound"
    )
    adaptive_rate: Positive = Field(description="the most by which a bound's logarithm moves in a round")
    group_statistics: bool = Field(
        description="also release norms and clipping of updates by group of layers: at no epsilon, but with "
        "sqrt(k / 2) times the noise on each of the k statistics"
    )
    bands: Count = Field(
        description="rounds over which noise is correlated; `murmur plan --bands auto` says if it helps"
    )
    cohort_cap: Annotated[int, Field(ge=0)] = Field(
        description="most speakers in a round, accounted for as a truncated Poisson sample; 0: no cap"
    )
    noise_source: NOISE_SOURCES = Field(
        description="'secure', or fast noise that a seed repeats: no privacy, and every artefact says so"
    )
    noise_seed: Annotated[int, Field(ge=0)] = Field(description="seed of 'seeded-not-private'")
    quantisation_bits: Annotated[int, Field(ge=12, le=24)] = Field(description="C is 2^bits grid steps")
    population_name: str = Field(
        description="name of the population and of its ledger; required in private runs on real speakers"
    )
    uncounted: str = Field(
        description="names of other ledgers of some of these speakers, separated by commas, whose spending "
        "no epsilon of this run includes"
    )
    extrapolate_population: Count = Field(description="N of the extrapolated epsilon")
    extrapolate_cohort: Positive = Field(description="S of the extrapolated epsilon")

    @property
    def groups(self) -> ClipGroups:
        """The clip groups; one of all tensors if the recipe names none."""
        return ClipGroups.read(self.clip_groups)

    @property
    def adds_noise(self) -> bool:
        """Whether the run adds noise, from whatever source."""
        return self.noise_multiplier > 0 or self.target_epsilon > 0

    @property
    def stamp(self) -> str:
        """What every artefact of the run must say about its privacy, as `PrivacyPlan.stamp` does."""
        return "see ledger.jsonl" if self.adds_noise and self.noise_source == "secure" else "none"

    @model_validator(mode="after")
    def _consistent(self) -> PrivacySection:
        if self.noise_multiplier > 0 and self.target_epsilon > 0:
            raise ValueError(
                f"privacy.noise-multiplier = {self.noise_multiplier} and privacy.target-epsilon = "
                f"{self.target_epsilon}: one follows from the other; set one of them to 0"
            )
        if self.epsilon_budget > 0 and self.target_epsilon > 0:
            raise ValueError(
                f"privacy.epsilon-budget = {self.epsilon_budget} and privacy.target-epsilon = "
                f"{self.target_epsilon}: the target is the budget already; set the budget to 0"
            )
        if self.noise_shape != "isotropic" and self.clip_action == "normalise":
            raise ValueError(
                f"privacy.noise-shape = {self.noise_shape!r} and privacy.clip-action = 'normalise': noise "
                "may differ by layer only where each layer is held to its own bound; use clip-action = 'clip'"
            )
        if self.bands > 1 and self.noise_shape != "isotropic" and self.adaptive_clip:
            raise ValueError(
                f"privacy.bands = {self.bands} with privacy.noise-shape = {self.noise_shape!r} and "
                "privacy.adaptive-clip: correlated noise cannot change its shape between rounds; "
                "use noise-shape = 'isotropic'"
            )
        if self.bands > 1 and self.cohort_cap:
            raise ValueError(
                f"privacy.bands = {self.bands} and privacy.cohort-cap = {self.cohort_cap}: a capped cohort "
                "out of groups is not accounted for; set bands to 1 or the cap to 0"
            )
        if self.noise_source != "secure" and (self.epsilon_budget or self.target_epsilon):
            raise ValueError(
                f"privacy.noise-source = {self.noise_source!r} has no epsilon to keep within a budget: set "
                "privacy.epsilon-budget and privacy.target-epsilon to 0"
            )
        if self.extrapolate_cohort > self.extrapolate_population:
            raise ValueError(
                f"privacy.extrapolate-cohort = {self.extrapolate_cohort:g} is larger than "
                f"privacy.extrapolate-population = {self.extrapolate_population}: lower the first"
            )
        return self
