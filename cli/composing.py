"""One run configuration from the app's defaults, a recipe and single settings, as Flower fuses them."""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recipes import ConfigError, RunConfig, home
from recipes.earlier_keys import with_present_keys
from recipes.places import CORPORA_IN_FILES, SEEDS_WITHOUT_FILE, app_source
from recipes.run_config import known_kinds

LONGEST_TEXT = 1000  # characters of a setting that is not quoted
Flat = dict[str, Any]
# As Flower's own, and spaces round "=" as in a recipe.
SETTING = re.compile(r"""(?P<key>[^\s=]+)\s*=\s*(?P<value>'[^']*'|"[^"]*"|[^\s#]+)(\s+|$)""")


def staged_app(folder: Path) -> Path:
    """Copy what the Flower app consists of into `folder`: its pyproject.toml and the rooms that it runs.

    Flower looks at every file beside an app before it takes those that belong to it. A checkout with a
    virtual environment has 50,000 files: that takes longer than all the rest of a start.
    """
    pyproject, rooms = app_source()
    named = [found for pattern in _flower_app()["fab-include"] for found in rooms.glob(pattern)]
    for path, name in [(pyproject, "pyproject.toml"), *((one, str(one.relative_to(rooms))) for one in named)]:
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return folder


def default_config() -> Flat:
    """The flat default run configuration: that of the app's pyproject.toml."""
    return flatten(_flower_app()["config"])


def _flower_app() -> dict[str, Any]:
    pyproject, _ = app_source()
    app: dict[str, Any] = tomllib.loads(pyproject.read_text(encoding="utf-8"))["tool"]["flwr"]["app"]
    return app


def read_recipe(path: Path) -> Flat:
    """The flat settings of a TOML recipe.

    Raises:
        ConfigError: If the file is missing or is no TOML.
    """
    try:
        return flatten(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(
            f"recipe {path} cannot be read: {error.strerror}; give the path of a TOML file"
        ) from error
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits, and deep nesting
        raise ConfigError(f"recipe {path} is no TOML: {error}; mend it there") from error


def config_of_run(folder: Path) -> RunConfig:
    """The configuration of a run folder; settings that its release did not have take the present defaults.

    Raises:
        ConfigError: If there is none, or it is not valid.
    """
    earlier = with_present_keys(read_recipe(folder / "config.toml"))
    earlier = with_absolute_paths(earlier, home())  # as earlier releases counted
    return RunConfig.from_flat({**default_config(), **earlier})


def with_absolute_paths(settings: Flat, base: Path | None = None) -> Flat:
    """`settings` whose relative paths count from `base`, by default the working directory."""
    kind = settings.get("corpus.kind", default_config()["corpus.kind"])
    paths = {"corpus.path": kind in CORPORA_IN_FILES, "run.folder": True}
    anchor = settings.get("server.anchor-kind", default_config()["server.anchor-kind"])
    shipped = settings.get("server.anchor-corpus") == "embedded"
    paths["server.anchor-corpus"] = anchor in CORPORA_IN_FILES and not shipped
    paths["model.name"] = str(settings.get("model.name", "")).startswith((".", "~"))
    paths["model.seed"] = settings.get("model.seed") not in SEEDS_WITHOUT_FILE
    paths["run.resume"] = "/" in str(settings.get("run.resume", ""))
    changed = {
        key: str((base or Path.cwd()) / Path(str(settings[key])).expanduser())
        for key, is_path in paths.items()
        if is_path and settings.get(key)
    }
    return {**settings, **changed}


def read_settings(settings: Sequence[str]) -> Flat:
    """Flat settings from `key=value` strings, in TOML's words; each may hold several, with spaces between.

    `flwr run --run-config` reads them alike, but drops what it cannot read without a word.

    Raises:
        ConfigError: If anything in a string is not of that form.
    """
    return {key: value for setting in settings for key, value in _read_setting(setting).items()}


def _read_setting(setting: str) -> Flat:
    flat: Flat = {}
    rest = setting.strip()
    while not flat or rest:
        if (found := SETTING.match(rest)) is None:
            raise ConfigError(
                f"setting {setting!r}: {rest!r} cannot be read; write it as 'section.key=value'"
            )
        flat.update(_value(found["key"], found["value"]))
        rest = rest[found.end() :]
    return flat


def _value(key: str, written: str) -> Flat:
    """One setting. Text needs no quotes of its own: what is no number, no boolean and not quoted is text."""
    if known_kinds().get(key) is str and written[0] not in "\"'":
        return {key: written}
    try:
        found = flatten(tomllib.loads(f"{key} = {written}"))
    except (ValueError, RecursionError):
        if written[0] in "\"'":
            raise ConfigError(f"setting {key}={written}: the quotes do not close; add the last one") from None
        if len(written) > LONGEST_TEXT:  # such as a number of thousands of digits
            raise ConfigError(
                f"setting {key}={written[:20]}...: is no number, and too long for text"
            ) from None
        return {key: written}
    scalar = all(isinstance(value, (bool, int, float, str)) for value in found.values())
    return found if scalar else {key: written}


def as_toml(flat: Flat) -> str:
    """A flat recipe in TOML, by section."""
    import tomli_w

    nested: Flat = {}
    for key, value in flat.items():
        section, _, name = key.partition(".")
        nested.setdefault(section, {})[name] = value
    return tomli_w.dumps(nested)


def flatten(table: Mapping[str, Any], prefix: str = "") -> Flat:
    """Nested tables as dotted keys."""
    flat: Flat = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat
