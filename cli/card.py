"""`murmur card`: the model card of a run, from its folder and its ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.composing import config_of_run
from cli.exits import REFUSED
from cli.models import BASE_HELP
from cli.transcribe import model_path
from privacy import PrivacyError
from recipes import ConfigError
from server.errors import ResumeRefused
from server.report.model_card import model_card
from server.storage.run_folder import RunFolder
from speech.errors import SpeechError

LATEST = Path("latest")


def card(
    run: Annotated[
        Path, typer.Option("--run", "-r", help="A run folder, or a name in the runs folder.")
    ] = LATEST,
    base_model: Annotated[Path | None, typer.Option(help=BASE_HELP)] = None,
    licence: Annotated[str | None, typer.Option(help="The model's licence, e.g. cc-by-4.0.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write it here, e.g. README.md.")] = None,
) -> None:
    """Print the model card (Markdown with a Hugging Face header)."""
    try:
        folder = model_path(run, None).parent
        text = model_card(RunFolder(folder), config_of_run(folder), licence, base_model=base_model)
        if out is None:
            typer.echo(text, nl=False)
        else:
            out.write_text(text, encoding="utf-8")
    except (SpeechError, ConfigError, PrivacyError, ResumeRefused, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(REFUSED) from None
