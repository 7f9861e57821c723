"""The run configuration: a recipe's sections together, read from Flower's flat table.

Flower hands an app a flat table (`"privacy.noise-multiplier" = 0.05`). `RunConfig.from_flat` turns it
into frozen, typed sections, or raises one `ConfigError` that lists every fault with the key, the value
and what would do. A field's description is its documentation (`murmur recipe` prints it).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError, model_validator

from base.registries import LOCAL_ALGORITHMS
from base.settings import Section, explained, known_settings, setting_fields, unknown_key
from recipes.earlier_keys import PRESENT_KEYS
from recipes.model_section import ModelSection
from recipes.places import CORPORA_IN_FILES, SEEDS_WITHOUT_FILE
from recipes.privacy_section import PrivacySection
from recipes.sections import CorpusSection, LocalSection, RunSection, ServerSection, TrainingSection

BESIDE_THE_UPDATE_IN_A_PRIVATE_RUN = (
    "local.algorithm = {name!r}: refused in a private run. Beside the clipped update a node would keep or "
    "send {what}: no clip, no noise and no accounting covers that; use 'fedavg' or 'fedprox'"
)

COMPILED_IN_A_PRIVATE_RUN = (
    "local.compile = true: refused in a private run. Compiled code is made for the shapes that came before, "
    "so one speaker's recordings would change how the next one's are computed; set it to false"
)


class ConfigError(ValueError):
    """A run configuration that cannot be run; the message lists every fault and its remedy."""


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
    def _nothing_beside_the_update(self) -> RunConfig:
        name = self.local.algorithm
        if self.privacy.adds_noise and (what := beside_the_update(name)):
            raise ValueError(BESIDE_THE_UPDATE_IN_A_PRIVATE_RUN.format(name=name, what=what))
        return self

    @model_validator(mode="after")
    def _nothing_kept_on_hosts(self) -> RunConfig:
        name, nodes = self.local.algorithm, self.training.hosted_nodes
        if nodes and (what := beside_the_update(name)):
            raise ValueError(
                f"training.hosted-nodes = {nodes} (--hosts) and local.algorithm = {name!r}: a host adds up "
                f"what its nodes send, and these keep or send {what} too; set hosted-nodes to 0, or use "
                "'fedavg'"
            )
        return self

    @model_validator(mode="after")
    def _nothing_compiled_for_the_next(self) -> RunConfig:
        if self.local.compile and self.privacy.stamp != "none":
            raise ValueError(COMPILED_IN_A_PRIVATE_RUN)
        return self

    @model_validator(mode="after")
    def _english_for_the_shipped_seed(self) -> RunConfig:
        if self.model.seed == "embedded" and self.corpus.language != "en" and not self.corpus.characters:
            raise ValueError(
                f"corpus.language = {self.corpus.language!r} and model.seed = 'embedded': the shipped seed "
                "model writes English; give the path of a model of that language, or 'random'"
            )
        return self

    @model_validator(mode="after")
    def _absolute_paths(self) -> RunConfig:
        relative = {key: path for key, path in self._paths().items() if not Path(path).is_absolute()}
        if relative:
            key, path = next(iter(relative.items()))
            raise ValueError(
                f"{key} = {path!r}: the path is relative, and an app has no working directory of its own; "
                "give an absolute one (`murmur run` makes relative paths absolute, `flwr run` does not)"
            )
        return self

    def _paths(self) -> dict[str, str]:
        """The settings that are paths, by their keys."""
        paths = {"corpus.path": self.corpus.path if self.corpus.kind in CORPORA_IN_FILES else ""}
        anchor_kind, anchor = self.server.anchor_place
        paths["server.anchor-corpus"] = anchor if anchor_kind in CORPORA_IN_FILES else ""
        paths["model.name"] = self.model.name if self.model.name.startswith((".", "~")) else ""
        paths["model.seed"] = "" if self.model.seed in SEEDS_WITHOUT_FILE else self.model.seed
        paths["run.folder"] = self.run.folder
        paths["run.resume"] = self.run.resume if "/" in self.run.resume else ""
        return {key: path for key, path in paths.items() if path}

    @classmethod
    def from_flat(cls, flat: Mapping[str, Any]) -> RunConfig:
        """Build from Flower's flat run config.

        Raises:
            ConfigError: Naming every unknown or missing key, wrong type and impossible value.
        """
        try:
            return cls.model_validate(_nest(flat))
        except ValidationError as error:
            faults = explained(error, RunConfig, renamed=PRESENT_KEYS)
            raise ConfigError(f"the run configuration cannot be used:\n{faults}") from None

    def to_flat(self) -> dict[str, bool | float | int | str]:
        """The flat table that `from_flat` takes; what a run folder keeps."""
        nested = self.model_dump(by_alias=True)
        return {f"{section}.{key}": value for section in nested for key, value in nested[section].items()}


def beside_the_update(algorithm: str) -> str:
    """What a local algorithm keeps or sends beside the clipped update, in words; empty for nothing.

    One that has no declaration counts as one that sends anything.
    """
    what = getattr(LOCAL_ALGORITHMS[algorithm], "beside_the_update", None)
    return what if isinstance(what, str) else "what it does not declare"


def known_keys() -> dict[str, str]:
    """Every key with its description, in order."""
    return known_settings(RunConfig)


def known_kinds() -> dict[str, Any]:
    """The declared type of every key."""
    return {key: field.annotation for key, field in setting_fields(RunConfig).items()}


def _nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Sections from dotted keys; whole numbers stand for floats where a float is wanted."""
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        section, dot, name = key.partition(".")
        if not dot:
            fault = unknown_key(key, value, known_keys(), PRESENT_KEYS)
            raise ConfigError(f"the run configuration cannot be used:\n  - {fault}")
        nested.setdefault(section, {})[name] = _as_declared(key, value)
    return nested


def _as_declared(key: str, value: Any) -> Any:
    """TOML writes 1 for 1.0; accept a whole number (never a bool) where a float is declared."""
    field = setting_fields(RunConfig).get(key)
    if type(value) is not int or field is None or field.annotation is not float:
        return value
    try:
        return float(value)
    except OverflowError:
        return math.inf  # which every key refuses
