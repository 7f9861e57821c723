"""Typed settings of recipes: the base class of a section, types with a range, and the text of errors.

Guarantee: an error names every fault of a recipe at once, each with its key, its value and the remedy.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

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


@cache
def setting_fields(model: type[BaseModel]) -> Mapping[str, FieldInfo]:
    """Return every key "section.key" of a recipe of this model, with its field, in order."""
    return {
        f"{section}.{inner.alias or name}": inner
        for section, field in model.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        for name, inner in field.annotation.model_fields.items()
    }


def known_settings(model: type[BaseModel]) -> dict[str, str]:
    """Return every key "section.key" of a recipe of this model, with its description, in order."""
    return {key: field.description or "" for key, field in setting_fields(model).items()}


def explained(
    error: ValidationError, model: type[BaseModel], renamed: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Return one line a fault of a recipe of this model: the key, its value, the fault and the remedy.

    `renamed` maps keys of earlier releases to present ones.
    """
    keys = known_settings(model)
    return "\n".join(f"  - {line}" for fault in error.errors() for line in _explained(fault, keys, renamed))


def unknown_key(
    key: str, value: Any, keys: Mapping[str, str], renamed: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Return the fault of a key that is none of `keys`, with its new name, the nearest key or all keys."""
    if key in renamed:
        return f"{key} = {value!r}: this key is called {renamed[key]!r} now"
    near = difflib.get_close_matches(key, keys, n=1, cutoff=0.75)
    section = [known for known in keys if known.partition(".")[0] == key.partition(".")[0]]
    known = ", ".join(section or dict.fromkeys(one.partition(".")[0] for one in keys))
    hint = f"did you mean {near[0]!r}?" if near else f"known are {known}"
    return f"{key} = {value!r}: no such key; {hint}"


def _explained(fault: ErrorDetails, keys: Mapping[str, str], renamed: Mapping[str, str]) -> list[str]:
    key, value = ".".join(str(part) for part in fault["loc"]), fault["input"]
    if fault["type"] == "extra_forbidden":
        inner = value.items() if isinstance(value, dict) else [(None, value)]
        return [unknown_key(f"{key}.{name}" if name else key, one, keys, renamed) for name, one in inner]
    if fault["type"] == "missing":
        return [f"{key} is missing: add it ({keys.get(key, 'a section of the recipe')})"]
    if fault["type"] == "value_error":
        message = str(fault["msg"]).removeprefix("Value error, ")
        return [f"{key} = {value!r}: {message}" if key in keys else message]
    message = fault["msg"][0].lower() + fault["msg"][1:]
    shown = f"{value!r}" if not isinstance(value, float) or math.isfinite(value) else str(value)
    return [f"{key} = {shown}: {message}" + (f" ({keys[key]})" if keys.get(key) else "")]
