"""The run configuration: every key of a recipe, its type, its range and its meaning, in one place.

Flower hands an app a flat table (`"privacy.noise-multiplier" = 0.05`). `RunConfig.from_flat` turns it
into frozen, typed sections, or raises one `ConfigError` that lists every fault with the key, the value
and what would do. A field's description is its documentation (`murmur recipe` prints it).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from recipes.learning import LearningSettings

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
WholeNumber = Annotated[int, Field(ge=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]

CORPUS_KINDS = Literal[
    "embedded", "synthetic", "manifest", "librispeech", "commonvoice", "speechocean762", "huggingface"
]
LANGUAGES = Literal["en", "fr", "de"]
UNSPELLED = Literal["skip", "map"]
OPTIMISERS = Literal["adam", "lamb", "lars", "yogi", "adagrad", "sgd"]
SCHEDULES = Literal["constant", "exponential", "step", "cosine", "half-cosine"]
LOCAL_OPTIMISERS = Literal["sgd", "adam"]
LOCAL_ALGORITHMS = Literal["fedavg", "fedprox", "scaffold"]
CLIP_RULES = Literal["global", "uniform", "dim", "power"]
CLIP_ACTIONS = Literal["clip", "normalise"]
NOISE_SOURCES = Literal["secure", "seeded-not-private"]
NOISE_SHAPES = Literal["isotropic", "variance-optimal"]
TRAIN_ALL = "all"

SCAFFOLD_IN_A_PRIVATE_RUN = (
    "local.algorithm = 'scaffold': refused in a private run. Its control variates are a second release "
    "from every client, un-noised and outside the accounting, and they keep a state per speaker between "
    "rounds; use 'fedavg' or 'fedprox'"
)


class ConfigError(ValueError):
    """A run configuration that cannot be run; the message lists every fault and its remedy."""


class Section(BaseModel):
    """A frozen section of the configuration; keys are written with hyphens in TOML."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=lambda name: name.replace("_", "-"),
    )


class CorpusSection(Section):
    """Whose speech."""

    kind: CORPUS_KINDS = Field(description="what lies at the path; 'embedded' ships with us")
    path: str = Field(description="manifest file or corpus folder; empty for 'embedded'")
    train_split: str = Field(min_length=1, description="split whose speakers may be drawn")
    test_split: str = Field(min_length=1, description="split of the held-out evaluation")
    max_seconds: Positive = Field(description="longer utterances are skipped and counted")
    language: LANGUAGES = Field(description="what is spoken; its characters are the model's outputs")
    unspelled: UNSPELLED = Field(
        description="transcripts with digits or foreign letters: 'skip' them, or 'map' to what can be spelled"
    )
    feature_cache: bool = Field(
        description="keep features in the user's cache folder, in a simulation; other nodes say so themselves"
    )

    shared_speakers: bool = Field(
        description="go on although people are in two splits; what is measured on them flatters the model"
    )

    @model_validator(mode="after")
    def _path_where_needed(self) -> CorpusSection:
        if self.kind != "embedded" and not self.path:
            raise ValueError(f"corpus.path is empty: kind {self.kind!r} needs the path of a corpus")
        return self

    @property
    def rules(self) -> dict[str, Any]:
        """What `speech.corpus.load_corpus` shall take, as its keyword arguments."""
        return self.model_dump(include={"max_seconds", "language", "unspelled"})


class ModelSection(Section):
    """What is trained, and from where."""

    preset: str = Field(min_length=1, description="a preset: tiny, small, paper and more (docs/models.md)")
    seed: str = Field(min_length=1, description="'embedded', 'random', or the path of a .safetensors model")
    trainable: str = Field(
        min_length=1,
        description="'all', or name patterns with commas between: the other parameters stay as in the seed",
    )

    @model_validator(mode="after")
    def _frozen_at_a_seed(self) -> ModelSection:
        if self.trainable != TRAIN_ALL and self.seed == "random":
            raise ValueError(
                f"model.trainable = {self.trainable!r} and model.seed = 'random': what is not trained would "
                "stay random, and be another model on every node; give a seed model, or train 'all'"
            )
        return self


class TrainingSection(Section):
    """The rounds of the federation."""

    rounds: Count = Field(description="rounds T")
    cohort: Positive = Field(description="expected speakers per round S; each is drawn with S / N")
    evaluate_every: Count = Field(description="rounds between evaluations on held-out speakers")
    round_deadline_seconds: Positive = Field(description="replies later than this count as zero")
    min_nodes: Count = Field(description="nodes to wait for before the first round")
    wait_seconds: Positive = Field(description="how long to wait for them")


class LocalSection(Section, LearningSettings):
    """What a drawn speaker does with the round's model (stateless)."""

    algorithm: LOCAL_ALGORITHMS = Field(
        description="'fedavg'; 'fedprox' stays near the round's model; 'scaffold' only without privacy"
    )
    proximal_mu: NotNegative = Field(description="FedProx: weight mu of mu/2 |w - w0|^2")
    optimiser: LOCAL_OPTIMISERS = Field(description="local optimiser, afresh for every speaker")
    learning_rate: Positive = Field(description="local learning rate")
    momentum: Decay = Field(description="momentum (sgd); 0: none")
    beta1: Decay = Field(description="decay of the first moment (adam)")
    beta2: Decay = Field(description="decay of the second moment (adam)")
    epsilon: Positive = Field(description="added to the root of the second moment (adam)")
    batch_size: WholeNumber = Field(description="utterances per local batch")
    batch_seconds: NotNegative = Field(description="or seconds of audio per local batch, padding included")
    epochs: Annotated[int, Field(ge=0)] = Field(description="passes over the speaker's speech")
    steps: Annotated[int, Field(ge=0)] = Field(description="or so many batches, looping as needed")
    gradient_clip: Positive = Field(description="bound on each step's gradient norm")

    @model_validator(mode="after")
    def _epochs_or_steps(self) -> LocalSection:
        if (self.epochs == 0) == (self.steps == 0):
            raise ValueError(
                f"local.epochs = {self.epochs} and local.steps = {self.steps}: "
                "set exactly one of them above 0"
            )
        return self

    @model_validator(mode="after")
    def _utterances_or_seconds(self) -> LocalSection:
        if (self.batch_size == 0) == (self.batch_seconds == 0):
            raise ValueError(
                f"local.batch-size = {self.batch_size} and local.batch-seconds = {self.batch_seconds:g}: "
                "set exactly one of them above 0"
            )
        return self

    @model_validator(mode="after")
    def _plain_sgd_for_scaffold(self) -> LocalSection:
        if self.algorithm == "scaffold" and (self.optimiser, self.momentum) != ("sgd", 0):
            raise ValueError(
                f"local.algorithm = 'scaffold', local.optimiser = {self.optimiser!r} and "
                f"local.momentum = {self.momentum}: its control variates are mean gradients of plain SGD; "
                "use 'sgd' and 0"
            )
        return self

    @model_validator(mode="after")
    def _mu_with_fedprox(self) -> LocalSection:
        if (self.algorithm == "fedprox") != (self.proximal_mu > 0):
            raise ValueError(
                f"local.algorithm = {self.algorithm!r} and local.proximal-mu = {self.proximal_mu}: "
                "mu belongs to 'fedprox' and is above 0 there, 0 elsewhere"
            )
        return self


class ServerSection(Section):
    """How the noisy mean becomes a model."""

    optimiser: OPTIMISERS = Field(description="server optimiser")
    learning_rate: Positive = Field(description="server learning rate")
    schedule: SCHEDULES = Field(description="how the server learning rate moves over the rounds")
    warm_up_rounds: WholeNumber = Field(description="rounds of a linear ramp before any schedule")
    decay_after: WholeNumber = Field(description="rounds before decay begins (exponential, step)")
    decay_every: Count = Field(description="rounds per factor of decay (exponential, step)")
    decay_factor: Annotated[float, Field(gt=0, le=1)] = Field(description="the factor (exponential, step)")
    final_factor: Share = Field(description="the factor at the end (cosine, half-cosine)")
    beta1: Decay = Field(description="decay of the first moment (adam, lamb, yogi)")
    beta2: Decay = Field(description="decay of the second moment (adam, lamb, yogi)")
    epsilon: Positive = Field(description="added to the root of the second moment (all but sgd, lars)")
    momentum: Decay = Field(description="momentum (sgd, lars); 0: none")
    initial_accumulator: NotNegative = Field(description="where the second moment starts (yogi, adagrad)")
    trust_ratio_cap: NotNegative = Field(description="bound on |weights| / |update| (lamb); 0: no bound")
    trust_coefficient: Positive = Field(description="a layer's step over its norm (lars)")
    weight_decay: NotNegative = Field(description="weight decay (lamb, lars)")

    @model_validator(mode="after")
    def _decay_that_decays(self) -> ServerSection:
        if self.schedule in ("exponential", "step") and self.decay_factor == 1:
            raise ValueError(
                f"server.schedule = {self.schedule!r} and server.decay-factor = 1.0: nothing would decay; "
                "set a factor below 1, or the schedule 'constant'"
            )
        return self


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
    clip_rule: CLIP_RULES = Field(description="how the clip bound is split over the layers")
    clip_exponent: Share = Field(description="p of the rule 'power', C_h ~ d_h^p; others ignore it")
    clip_action: CLIP_ACTIONS = Field(description="'clip' (Definition 3) or 'normalise'")
    clip_bound: Positive = Field(description="C, the bound on one speaker's whole update")
    noise_shape: NOISE_SHAPES = Field(
        description="noise equal everywhere, or per layer with the least total variance at the same z"
    )
    adaptive_clip: bool = Field(
        description="let each layer's bound follow a quantile of the norms, from noised bits"
    )
    adaptive_quantile: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="share of updates that shall stay within their bound"
    )
    adaptive_rate: Positive = Field(description="the most by which a bound's logarithm moves in a round")
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
    grid_bits: Annotated[int, Field(ge=12, le=24)] = Field(description="C is 2^bits grid steps")
    people: str = Field(description="names these people's ledger; empty: the data set's digest does")
    extrapolate_population: Count = Field(description="N of the extrapolated epsilon")
    extrapolate_cohort: Positive = Field(description="S of the extrapolated epsilon")

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
                f"privacy.extrapolate-population = {self.extrapolate_population}"
            )
        return self


class RunSection(Section):
    """What is kept."""

    folder: str = Field(min_length=1, description="run folders are made here")
    resume: str = Field(description="a run folder to go on with, or 'latest'; empty: a fresh run")
    checkpoint_every: Count = Field(description="rounds between checkpoints")
    sentences_shown: Annotated[int, Field(ge=0)] = Field(
        description="held-out sentences read side by side at the end"
    )
    raw_metrics: bool = Field(
        description="simulations only: un-noised metrics of the nodes, in a file that is not private"
    )


class RunConfig(Section):
    """A whole run."""

    corpus: CorpusSection
    model: ModelSection
    training: TrainingSection
    local: LocalSection
    server: ServerSection
    privacy: PrivacySection
    run: RunSection

    @model_validator(mode="after")
    def _no_control_variates(self) -> RunConfig:
        private = self.privacy.noise_multiplier > 0 or self.privacy.target_epsilon > 0
        if self.local.algorithm == "scaffold" and private:
            raise ValueError(SCAFFOLD_IN_A_PRIVATE_RUN)
        return self

    @model_validator(mode="after")
    def _english_for_the_shipped_seed(self) -> RunConfig:
        if self.model.seed == "embedded" and self.corpus.language != "en":
            raise ValueError(
                f"corpus.language = {self.corpus.language!r} and model.seed = 'embedded': the shipped seed "
                "model writes English; give the path of a model of that language, or 'random'"
            )
        return self

    @classmethod
    def from_flat(cls, flat: Mapping[str, Any]) -> RunConfig:
        """Build from Flower's flat run config.

        Raises
        ------
        ConfigError
            Naming every unknown or missing key, wrong type and impossible value.
        """
        try:
            return cls.model_validate(_nest(flat))
        except ValidationError as error:
            faults = "\n".join(f"  - {_explain(fault)}" for fault in error.errors())
            raise ConfigError(f"the run configuration cannot be used:\n{faults}") from None

    def to_flat(self) -> dict[str, bool | float | int | str]:
        """The flat table that `from_flat` takes; what a run folder keeps."""
        nested = self.model_dump(by_alias=True)
        return {f"{section}.{key}": value for section in nested for key, value in nested[section].items()}


def known_keys() -> dict[str, str]:
    """Every key with its description, in order."""
    keys = {}
    for section, field in RunConfig.model_fields.items():
        model = field.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            for name, inner in model.model_fields.items():
                keys[f"{section}.{name.replace('_', '-')}"] = inner.description or ""
    return keys


def _nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Sections from dotted keys; whole numbers stand for floats where a float is wanted."""
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        section, dot, name = key.partition(".")
        if not dot:
            raise ConfigError(f"the run configuration cannot be used:\n  - {_unknown(key, value)}")
        nested.setdefault(section, {})[name] = _as_declared(section, name, value)
    return nested


def _as_declared(section: str, name: str, value: Any) -> Any:
    """TOML writes 1 for 1.0; accept a whole number (never a bool) where a float is declared."""
    field = RunConfig.model_fields.get(section)
    model = field.annotation if field else None
    if not (isinstance(model, type) and issubclass(model, BaseModel)) or type(value) is not int:
        return value
    declared = model.model_fields.get(name.replace("-", "_"))
    return float(value) if declared is not None and declared.annotation is float else value


def _explain(fault: ErrorDetails) -> str:
    key, value = ".".join(str(part) for part in fault["loc"]), fault["input"]
    if fault["type"] == "extra_forbidden":
        unknown = value.items() if isinstance(value, dict) else [(None, value)]
        return "\n  - ".join(_unknown(f"{key}.{name}" if name else key, inner) for name, inner in unknown)
    if fault["type"] == "missing":
        return f"{key} is missing: add it ({known_keys().get(key, 'a section of the recipe')})"
    if fault["type"] == "value_error":
        return str(fault["msg"]).removeprefix("Value error, ")
    message = fault["msg"][0].lower() + fault["msg"][1:]
    shown = f"{value!r}" if not isinstance(value, float) or math.isfinite(value) else str(value)
    return f"{key} = {shown}: {message} ({known_keys().get(key, '')})"


def _unknown(key: str, value: Any) -> str:
    near = difflib.get_close_matches(key, known_keys(), n=1)
    hint = f"did you mean {near[0]!r}?" if near else "`murmur recipe` lists the keys"
    return f"{key} = {value!r}: no such key; {hint}"
