"""The parts of the run configuration's sections: their base class, and field types with a range."""

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
    """A validator for a `str` field: the value must be a name in the registry."""
    return AfterValidator(registry.require)


class Section(BaseModel):
    """A frozen section of the configuration. In TOML its keys have hyphens instead of underscores."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=lambda name: name.replace("_", "-"),
    )
