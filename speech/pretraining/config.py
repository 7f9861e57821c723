"""The settings of central training; the keys of a recipe have hyphens."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from base.learning_settings import LearningSettings, ProbabilityOrPreset
from base.registries import MODEL_PRESETS
from base.settings import Count, Decay, Fraction, NotNegative, Positive, Section, WholeNumber, name_of
from speech.data.batching import BatchLimit


class PretrainConfig(Section, LearningSettings):
    """The settings of a training. A batch is that of all processes together: their number changes no setting.

    Raises:
        ValueError: For a value outside its range, or settings that contradict each other.

    Example:
        >>> config = PretrainConfig(preset="small", epochs=3, batch_size=8)
        >>> config.batch_limit, config.optimiser
        (BatchLimit(utterances=8, seconds=0.0), 'adamw')
    """

    model_config = ConfigDict(populate_by_name=True)  # code writes underscores, recipes hyphens

    preset: Annotated[str, name_of(MODEL_PRESETS)] = Field(
        default="tiny", description="a model preset: tiny, small, paper and more (docs/models.md)"
    )
    split: str = Field(default="seed", min_length=1, description="split of the corpus to train on")
    held_out: tuple[str, ...] = Field(
        default=("seed-test",), strict=False, description="splits to evaluate on; the first is the dev set"
    )
    epochs: WholeNumber = Field(default=20, description="passes over the training split")
    steps: WholeNumber = Field(default=0, description="or steps, in as many passes as they need")
    batch_size: WholeNumber = Field(default=6, description="utterances per step")
    batch_seconds: NotNegative = Field(default=0.0, description="or seconds of audio per step, with padding")
    optimiser: Literal["adamw", "lamb", "lars"] = Field(default="adamw", description="optimiser")
    learning_rate: Positive = Field(default=3e-3, description="peak learning rate")
    beta1: Decay = Field(default=0.9, description="decay of the first moment (adamw, lamb)")
    beta2: Decay = Field(default=0.98, description="decay of the second moment (adamw, lamb)")
    momentum: Decay = Field(default=0.9, description="momentum (lars)")
    trust_coefficient: Positive = Field(default=0.001, description="a layer's step over its norm (lars)")
    weight_decay: NotNegative = Field(default=1e-3, description="weight decay; decoupled but in lars")
    schedule: Literal["constant", "cosine", "exponential", "step"] = Field(
        default="cosine", description="how the learning rate falls after the warm-up"
    )
    warm_up: Fraction = Field(default=0.1, description="share of the steps in which the rate rises")
    flat_until: Fraction = Field(default=0.5, description="share after which it falls to 0 (cosine)")
    decay_after: WholeNumber = Field(default=0, description="steps before decay begins (exponential, step)")
    decay_every: Count = Field(default=1000, description="steps per factor of decay (exponential, step)")
    decay_factor: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.5, description="the factor (exponential, step)"
    )
    gradient_clip: Positive = Field(
        default=1.0,
        description="bound on the gradient norm of each step (clip = 'batch'), or of each of its parts",
    )
    dropout: ProbabilityOrPreset = Field(default=0.05, description="dropout in [0, 1), or 'preset'")
    layer_drop: ProbabilityOrPreset = Field(
        default=0.0, description="probability of leaving out a block for a whole batch, or 'preset'"
    )
    evaluate_every: WholeNumber = Field(
        default=0, description="passes between evaluations on the held-out splits; 0: only at the end"
    )
    look_every: WholeNumber = Field(
        default=0, description="steps between evaluations on a few dev utterances; 0: none"
    )
    keep: Literal["last", "best"] = Field(
        default="last", description="the model of the last pass, or that of the lowest dev WER"
    )
    random_seed: WholeNumber = Field(default=0, description="fixes initialisation, order and dropout")

    @model_validator(mode="after")
    def _consistent(self) -> "PretrainConfig":
        if (self.epochs == 0) == (self.steps == 0):
            raise ValueError(
                f"epochs = {self.epochs} and steps = {self.steps}: set exactly one of them above 0."
            )
        if not self.held_out and (self.keep == "best" or self.look_every):
            raise ValueError(
                f"held-out is empty: keep = {self.keep!r} and look-every = {self.look_every} need a dev set."
            )
        if self.keep == "best" and not self.evaluate_every:
            raise ValueError(
                "keep = 'best' and evaluate-every = 0: there is only one evaluation to choose from; "
                "set evaluate-every above 0."
            )
        self.require_parts(self.batch_size)
        _ = self.batch_limit  # refuses a wrong one
        return self

    @property
    def batch_limit(self) -> BatchLimit:
        """The largest batch."""
        return BatchLimit(utterances=self.batch_size, seconds=self.batch_seconds)
