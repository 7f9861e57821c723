"""`murmur model`: the store of pre-trained models on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from base.printable_text import one_line
from cli.exits import REFUSED
from cli.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Callable

    from speech.pretrained.folder import ModelFolder

LONGEST_LINE = 2000
NOT_KNOWN = "not known"

app = typer.Typer(
    name="model",
    help="Get, add and describe the pre-trained models of this machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)

Name = Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Its name in the store and in recipes.")]


@app.command("get")
def get(
    name: Name,
    revision: Annotated[
        str | None, typer.Option(metavar="SHA", help="The commit; by default the newest.")
    ] = None,
) -> None:
    """Fetch a model from the Hugging Face Hub: settings, tokeniser, safetensors and licence, never code."""
    from speech.pretrained.hub import fetch_model

    _answer(lambda: _added(name, fetch_model(name, revision)))


@app.command("add")
def add(
    name: Name,
    folder: Annotated[Path, typer.Argument(help="A folder in Hugging Face's layout.")],
    revision: Annotated[
        str, typer.Option(metavar="SHA", help="The commit that the folder has; it is noted with the model.")
    ] = "",
) -> None:
    """Copy the model in a folder into the store."""
    from speech.pretrained.store import add_model

    def lines() -> list[str]:
        with progress_bar("copying"):
            return _added(name, add_model(name, folder, revision))

    _answer(lines)


@app.command("list")
def list_models() -> None:
    """List the models of the store."""
    from speech.pretrained.store import models_folder, stored_models

    def lines() -> list[str]:
        found = [
            f"{name}  {folder.kind}, {folder.parameters:,} parameters, {folder.bytes / 1e6:,.0f} MB"
            for name, folder in stored_models()
        ]
        return found or [
            f"no model in {models_folder()}; `murmur model get` or `murmur model add` brings one"
        ]

    _answer(lines)


@app.command("show")
def show(
    model: Annotated[str, typer.Argument(metavar="NAME_OR_FOLDER", help="A name in the store, or a folder.")],
) -> None:
    """Describe a model: architecture, size, licence, and the digest for `model.digest`."""
    from speech.pretrained.store import find_folder, in_store

    def lines() -> list[str]:
        return described(find_folder(model if in_store(model) else str(Path(model).absolute())))

    _answer(lines)


def described(folder: ModelFolder) -> list[str]:
    """What `murmur model show` says of a folder, line by line."""
    window = f"{folder.window_seconds:g} s" if folder.window_seconds else "none"
    facts = {
        "folder": str(folder.path),
        "type": folder.kind or NOT_KNOWN,
        "family": _family(folder),
        "parameters": f"{folder.parameters:,}",
        "sample rate": f"{folder.sample_rate_hz} Hz" if folder.sample_rate_hz else NOT_KNOWN,
        "window": window,
        "licence": folder.licence or NOT_KNOWN,
        "revision": folder.revision or NOT_KNOWN,
        "digest": folder.digest,
    }
    return [f"{name + ':':13}{value}" for name, value in facts.items()]


def _family(folder: ModelFolder) -> str:
    """The family that takes the model; this needs `transformers`."""
    from speech.errors import ModelError
    from speech.model.choice import family_name

    try:
        return family_name(folder)
    except ModelError as error:
        return f"none: {error}"


def _added(name: str, folder: ModelFolder) -> list[str]:
    licence = folder.licence or NOT_KNOWN
    return [f"{name}: {folder.path}", f"licence {licence}; model.digest = {folder.digest}"]


def _answer(lines: Callable[[], list[str]]) -> None:
    """Print what a command found, or what went wrong."""
    from speech.errors import SpeechError

    try:
        for line in lines():
            typer.echo(one_line(line, most=LONGEST_LINE))
    except (SpeechError, OSError) as error:
        typer.echo(one_line(f"error: {error}", most=LONGEST_LINE), err=True)
        raise typer.Exit(REFUSED) from None
