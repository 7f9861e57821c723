"""`murmur app`: the Flower app as a folder, for Flower's own commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.composing import staged_app
from cli.exits import REFUSED


def app(
    folder: Annotated[Path, typer.Argument(help="A folder that does not exist yet, or is empty.")],
) -> None:
    """Write the Flower app that `flwr run FOLDER` takes."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        typer.echo(f"error: {folder} exists and is not empty; name a new folder", err=True)
        raise typer.Exit(REFUSED)
    try:
        staged_app(folder)
    except OSError as error:
        typer.echo(f"error: {error.filename} cannot be written: {error.strerror}", err=True)
        raise typer.Exit(REFUSED) from None
    typer.echo(f"the app is in {folder}; `flwr run {folder} --stream` runs it with its default configuration")
