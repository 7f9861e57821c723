"""The settings of a run that is submitted to a deployment, checked before they go out."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cli.composing import as_toml, default_config, read_recipe, read_settings
from cli.deploy.credentials import CredentialError
from recipes import ConfigError, RunConfig


@contextmanager
def settings_file(recipe: Path | None, settings: Sequence[str]) -> Iterator[list[str]]:
    """The arguments that give `flwr run` a recipe and single settings over it.

    Raises:
        CredentialError: If they make no run; paths of speech are the other hosts', and are not looked at
            here.
    """
    try:
        overrides = {**(read_recipe(recipe) if recipe else {}), **read_settings(settings)}
        RunConfig.from_flat({**default_config(), **overrides})
    except ConfigError as error:
        raise CredentialError(str(error)) from None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "settings.toml"
        file.write_text(as_toml(overrides), encoding="utf-8")
        yield ["--run-config", str(file)] if overrides else []
