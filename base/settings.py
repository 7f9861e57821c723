"""What the sections of the run configuration are made of: the base class, and types with a range."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from base.registry import Registry

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
WholeNumber = Annotated[int, Field(ge=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]


def name_of(registry: Registry) -> AfterValidator:
    """What makes a `str` the name of one of a registry's extensions."""
    return AfterValidator(registry.require)


class Section(BaseModel):
    """A frozen section of the configuration; keys are written with hyphens in TOML."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=lambda name: name.replace("_", "-"),
    )
