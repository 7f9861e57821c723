"""The section `model`: what is trained, and from where."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from base.model_choices import AdapterTrain, Head, Window
from base.registries import MODEL_PRESETS
from base.settings import Count, Positive, Section, WholeNumber

TRAIN_ALL, ADAPTERS, BASE, RANDOM = "all", "adapters", "base", "random"


class ModelSection(Section):
    """What is trained, and from where."""

    name: str = Field(
        min_length=1,
        description="a preset (tiny, small, paper and more), or a pre-trained model: owner/name or a folder",
    )
    seed: str = Field(
        min_length=1,
        description="where training starts: 'embedded' (that of tiny), 'base' (as a pre-trained model is), "
        "'random', or the path of a .safetensors model",
    )
    trainable: str = Field(
        min_length=1,
        description="'all', or name patterns with commas between ('adapters' is one): all else stays frozen",
    )
    window: Window = Field(
        description="'padded': windows of fixed length, as Whisper was trained; 'short': the utterance alone"
    )
    head: Head = Field(description="'base', or 'characters': a new CTC head with the corpus' characters")
    adapters: str = Field(
        description="name patterns of layers that get low-rank adapters, with commas between; 'all-linear': "
        "every linear layer but the head, whatever the names; empty: none"
    )
    adapter_rank: Count = Field(description="rank r of an adapter")
    adapter_alpha: Positive = Field(description="alpha: an adapter's change is scaled by alpha / r")
    adapter_train: AdapterTrain = Field(
        description="'B': A stays fixed at random, best with noise; 'AB': both factors are trained"
    )
    adapter_seed: WholeNumber = Field(description="seed of the fixed A; the same on all nodes")
    cache_frozen: bool = Field(
        description="compute the frozen layers below what is trained once for each utterance, and keep that"
    )
    digest: str = Field(
        pattern="^([0-9a-f]{64})?$",
        description="SHA-256 that the pre-trained model must have (`murmur model show`); empty: any",
    )

    @model_validator(mode="after")
    def _frozen_at_a_seed(self) -> ModelSection:
        if self.trainable != TRAIN_ALL and self.seed == RANDOM:
            raise ValueError(
                f"model.trainable = {self.trainable!r} and model.seed = 'random': what is not trained would "
                "stay random, and be another model on every node; give a seed model, or train 'all'"
            )
        return self

    @model_validator(mode="after")
    def _a_name_of_ours_or_a_path(self) -> ModelSection:
        if not self.is_preset and "/" not in self.name:
            raise ValueError(
                f"model.name = {self.name!r}: unknown model preset {self.name!r}; known are "
                f"{', '.join(map(repr, MODEL_PRESETS))}; a pre-trained model is owner/name, or a path"
            )
        if not self.is_preset and self.seed in ("embedded", RANDOM):
            raise ValueError(
                f"model.seed = {self.seed!r}: for a pre-trained model it is 'base', or the path of a model "
                "that was made of it"
            )
        return self

    @model_validator(mode="after")
    def _digest_of_files(self) -> ModelSection:
        if self.is_preset and self.digest:
            raise ValueError(
                f"model.digest = {self.digest!r} and model.name = {self.name!r}: a preset has no files that "
                "could have a digest; set model.digest to '', or name a pre-trained model"
            )
        return self

    @model_validator(mode="after")
    def _adapters_that_are_trained(self) -> ModelSection:
        named = ADAPTERS in self._patterns
        if named and not self.adapters:
            raise ValueError(
                f"model.trainable = {self.trainable!r} and model.adapters is empty: name the layers that get "
                "adapters, such as '*decoder*.fc1'"
            )
        if self.adapters and not named and "lora_" not in self.trainable:
            raise ValueError(
                f"model.adapters = {self.adapters!r} and model.trainable = {self.trainable!r}: the adapters "
                "would never change; set model.trainable to 'adapters', alone or with other patterns"
            )
        return self

    @property
    def is_preset(self) -> bool:
        """Whether the model is one of our presets, and not a pre-trained one."""
        return self.name in MODEL_PRESETS

    @property
    def rules(self) -> dict[str, Any]:
        """What `speech.model.choice.ModelChoice.of` takes, as its keyword arguments."""
        return self.model_dump(
            include={
                *("name", "window", "head", "adapters"),
                *("adapter_rank", "adapter_alpha", "adapter_train", "adapter_seed"),
            }
        )

    @property
    def trained(self) -> str:
        """`trainable` as patterns of parameter names alone."""
        own = {"B": ["*.lora_B"], "AB": ["*.lora_A", "*.lora_B"]}[self.adapter_train]
        named = [pattern for one in self._patterns for pattern in (own if one == ADAPTERS else [one])]
        return ",".join(named)

    @model_validator(mode="after")
    def _stem_of_a_frozen_model(self) -> ModelSection:
        if self.cache_frozen and self.trainable == TRAIN_ALL:
            raise ValueError(
                "model.cache-frozen = true and model.trainable = 'all': nothing is frozen; set it to false"
            )
        return self

    @property
    def _patterns(self) -> list[str]:
        return [one.strip() for one in self.trainable.split(",")]
