"""Settings that local training and central training share: dropout, masks, arithmetic, clipping in a step.

A setting that is "preset" in a recipe is None here: the value of the model's preset applies.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, PlainSerializer

from base.settings import Count

CLIPS = Literal["batch", "per-core", "micro-batch", "adaptive-micro"]
PRECISIONS = Literal["float32", "bfloat16"]
PRESET = "preset"


def _read(value: Any) -> Any:
    return None if value == PRESET else value


def _written(value: float | int | None) -> float | int | str:
    return PRESET if value is None else value


_OR_PRESET = (BeforeValidator(_read), PlainSerializer(_written))
ProbabilityOrPreset = Annotated[Annotated[float, Field(ge=0, lt=1)] | None, *_OR_PRESET]
FractionOrPreset = Annotated[Annotated[float, Field(ge=0, le=1)] | None, *_OR_PRESET]
NumberOrPreset = Annotated[Annotated[int, Field(ge=0)] | None, *_OR_PRESET]


class LearningSettings(BaseModel):
    """Regularisation and arithmetic of a model's training."""

    dropout: ProbabilityOrPreset = Field(default=None, description="dropout in [0, 1), or 'preset'")
    layer_drop: ProbabilityOrPreset = Field(
        default=None, description="probability of leaving out a block for a whole batch, or 'preset'"
    )
    spec_augment: bool = Field(
        default=True, description="mask bands of frequency and time in training (SpecAugment)"
    )
    spec_augment_after: int = Field(
        default=0, ge=0, description="number of rounds (in central training: steps) before SpecAugment starts"
    )
    freq_masks: NumberOrPreset = Field(
        default=None, description="SpecAugment: number of frequency masks, or 'preset'"
    )
    freq_width: NumberOrPreset = Field(
        default=None, description="SpecAugment: maximum width of a frequency mask in mels, or 'preset'"
    )
    time_masks: NumberOrPreset = Field(
        default=None, description="SpecAugment: number of time masks, or 'preset'"
    )
    time_width: NumberOrPreset = Field(
        default=None, description="SpecAugment: maximum width of a time mask in frames, or 'preset'"
    )
    time_ratio: FractionOrPreset = Field(
        default=None, description="SpecAugment: maximum share of an utterance in one time mask, or 'preset'"
    )
    precision: PRECISIONS = Field(
        default="float32", description="arithmetic on a GPU, 'float32' or 'bfloat16'; a CPU uses float32"
    )
    compile: bool = Field(default=False, description="compile the model's blocks, on a GPU only")
    clip: CLIPS = Field(
        default="batch",
        description="what is clipped in a step: 'batch', its gradient; 'per-core', 'micro-batch', "
        "'adaptive-micro': those of its parts",
    )
    micro_batch: Count = Field(
        default=1, description="utterances of a part of a batch ('micro-batch', 'adaptive-micro')"
    )
    clip_cores: Count = Field(default=4, description="number of parts of a batch ('per-core')")

    def require_parts(self, batch_size: int, section: str = "") -> None:
        """Refuse parts that do not divide a batch.

        Args:
            batch_size: Utterances in a batch; 0 if their number varies, and then nothing is refused.
            section: The beginning of the settings' keys, such as "local.".

        Raises:
            ValueError: If a part would be the whole batch, or a core would never have an utterance.
        """
        chosen, batch = f"{section}clip = {self.clip!r}", f"{section}batch-size = {batch_size}"
        whole = self.clip in ("micro-batch", "adaptive-micro") and self.micro_batch >= batch_size
        if batch_size and whole:
            raise ValueError(
                f"{chosen}, {section}micro-batch = {self.micro_batch} and {batch}: a micro-batch would be "
                "the whole batch; set it below the batch size, or clip = 'batch'"
            )
        if batch_size and self.clip == "per-core" and not 2 <= self.clip_cores <= batch_size:
            raise ValueError(
                f"{chosen}, {section}clip-cores = {self.clip_cores} and {batch}: each core needs an "
                "utterance; set a number from 2 to the batch size, or clip = 'batch'"
            )
