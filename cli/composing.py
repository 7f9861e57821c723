"""One run configuration from the app's defaults, a recipe and single settings, as Flower fuses them."""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recipes import ConfigError, RunConfig, checkout

Flat = dict[str, Any]
# As Flower's own, and spaces round "=" as in a recipe.
SETTING = re.compile(r"""(?P<key>[^\s=]+)\s*=\s*(?P<value>'[^']*'|"[^"]*"|[^\s#]+)(\s+|$)""")


def app_folder() -> Path:
    """The Flower app: the checkout.

    Raises:
        ConfigError: If murmuration was installed without its checkout, which Flower runs apps from.
    """
    folder = checkout()
    if folder is None:
        raise ConfigError(
            "no Flower app here: murmuration is installed without its source checkout; clone it "
            "and install with `pip install --editable .`"
        )
    return folder


def staged_app(folder: Path) -> Path:
    """A copy, in `folder`, of what the Flower app consists of.

    Flower looks at every file beside an app before it takes those that belong to it, and a checkout with a
    virtual environment has 50,000: that takes longer than all the rest of a start.
    """
    app = app_folder()
    named = [found for pattern in _flower_app()["fab-include"] for found in app.glob(pattern)]
    for path in (app / "pyproject.toml", *named):
        copy = folder / path.relative_to(app)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return folder


def default_config() -> Flat:
    """The flat default run configuration of pyproject.toml."""
    return flatten(_flower_app()["config"])


def _flower_app() -> dict[str, Any]:
    pyproject = tomllib.loads((app_folder() / "pyproject.toml").read_text(encoding="utf-8"))
    app: dict[str, Any] = pyproject["tool"]["flwr"]["app"]
    return app


def read_recipe(path: Path) -> Flat:
    """The flat settings of a TOML recipe.

    Raises:
        ConfigError: If the file is missing or is no TOML.
    """
    try:
        return flatten(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"recipe {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits, and deep nesting
        raise ConfigError(f"recipe {path} is no TOML: {error}") from error


def config_of_run(folder: Path) -> RunConfig:
    """The configuration of a run folder; keys that its release did not have yet take today's defaults.

    Raises:
        ConfigError: If there is none, or it is not valid.
    """
    return RunConfig.from_flat({**default_config(), **read_recipe(folder / "config.toml")})


def read_settings(settings: Sequence[str]) -> Flat:
    """Flat settings from `key=value` strings, in TOML's words; each may hold several, with spaces between.

    `flwr run --run-config` reads them alike, but drops what it cannot read without a word.

    Raises:
        ConfigError: If anything in a string is not of that form.
    """
    return {key: value for setting in settings for key, value in _read_setting(setting).items()}


def _read_setting(setting: str) -> Flat:
    flat, rest = {}, setting.strip()
    while not flat or rest:
        if (found := SETTING.match(rest)) is None:
            raise ConfigError(
                f"setting {setting!r}: {rest!r} cannot be read; write it as 'section.key=value'"
            )
        try:
            flat.update(flatten(tomllib.loads(f"{found['key']} = {found['value']}")))
        except (ValueError, RecursionError):
            raise ConfigError(
                f"setting {setting!r}: {found['value']} is no value of {found['key']}; give a number, "
                "true or false, or words in quotes of their own: 'model.preset=\"tiny\"'"
            ) from None
        rest = rest[found.end() :]
    return flat


def flatten(table: Mapping[str, Any], prefix: str = "") -> Flat:
    """Nested tables as dotted keys."""
    flat: Flat = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat
