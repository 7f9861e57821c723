"""`murmur export`: a model as files that need nothing of ours, each checked, with its card beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from cli.composing import config_of_run
from cli.transcribe import model_path
from privacy import PrivacyError
from recipes import ConfigError
from server.errors import ResumeRefused
from speech.errors import SpeechError
from speech.model.checkpoint import load_model

NOT_FEDERATED = "none: not a model of a federation"
ELSEWHERE = "a private run's model of before lineages, without its run folder: epsilon is in the ledger there"


def export(
    out: Annotated[
        list[Path], typer.Argument(help="Files to write: .pt2 (torch.export), .pt (TorchScript), .onnx.")
    ],
    run: Annotated[Path | None, typer.Option("--run", "-r", help="A run folder: its final model.")] = None,
    model: Annotated[Path | None, typer.Option("--model", help="Or a model file.")] = None,
    licence: Annotated[str | None, typer.Option(help="The model's licence, e.g. cc-by-4.0.")] = None,
) -> None:
    """Write a model with its features inside: 16 kHz sound in, log-probabilities out.

    Every file is loaded again and must give the model's own log-probabilities, or it is not kept.
    """
    from speech.export import LICENCE_MISSING, TOLERANCE, describe, export_model, require_formats

    try:
        require_formats(out)
        file = model_path(run, model)
        loaded = load_model(file)
        privacy, card = _told(run, loaded.metadata, licence)
        metadata = describe(loaded, licence=licence or LICENCE_MISSING, privacy=privacy)
        for path in out:
            done = export_model(loaded, path, metadata)
            size = path.stat().st_size / 1e6
            typer.echo(
                f"{path}: {size:.1f} MB; log-probabilities within {done.difference:.1g} of the model's "
                f"({TOLERANCE:g} is allowed)"
            )
        if card:
            beside = out[0].with_suffix(".card.md")
            beside.write_text(card, encoding="utf-8")
            typer.echo(f"{beside}: model card")
    except (SpeechError, ConfigError, PrivacyError, ResumeRefused, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(code=1) from None


def _of_file(metadata: Mapping[str, str]) -> str:
    """What a model file says by itself; raises `SpendingUnknown` where it must and does not."""
    from server.storage.ancestry import LINEAGE, promise_of

    stamp = metadata.get("privacy")
    if stamp is None:
        return NOT_FEDERATED
    if LINEAGE in metadata:
        return promise_of(metadata[LINEAGE])
    return "none" if stamp == "none" else ELSEWHERE


def _told(run: Path | None, metadata: Mapping[str, str], licence: str | None) -> tuple[str, str | None]:
    """What the files say of privacy, and the card of a run."""
    if run is None:
        return _of_file(metadata), None
    from server.report.model_card import model_card
    from server.report.model_facts import ModelFacts
    from server.storage.run_folder import RunFolder

    folder = RunFolder(model_path(run, None).parent)
    config = config_of_run(folder.path)
    return ModelFacts.of(folder, config).privacy, model_card(folder, config, licence)
