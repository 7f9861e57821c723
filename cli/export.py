"""`murmur export`: a model as files that need nothing of ours, each checked, with its card beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from cli.composing import config_of_run
from cli.exits import REFUSED
from cli.models import BASE_HELP, open_model
from cli.transcribe import model_path
from privacy import PrivacyError
from recipes import ConfigError
from server.errors import ResumeRefused
from server.report.model_card import Form, card_of_file
from speech.errors import SpeechError
from speech.model.checkpoint import LoadedModel, tensor_names

Format = Literal["huggingface", "peft"]
Dtype = Literal["float32", "float16"]
FORMS: dict[Format | None, Form] = {None: "merged", "huggingface": "merged", "peft": "adapters"}
NOT_FEDERATED = "none: not a model of a federation"
ELSEWHERE = "a private run's model of before lineages, without its run folder: epsilon is in the ledger there"


def export(
    out: Annotated[
        list[Path],
        typer.Argument(
            help="Files to write: .pt2 (torch.export), .pt (TorchScript), .onnx; with --format, one folder."
        ),
    ],
    run: Annotated[Path | None, typer.Option("--run", "-r", help="A run folder: its final model.")] = None,
    model: Annotated[Path | None, typer.Option("--model", help="Or a model file.")] = None,
    base_model: Annotated[Path | None, typer.Option(help=BASE_HELP)] = None,
    format: Annotated[
        Format | None,
        typer.Option(
            help="Of a pre-trained model, a folder: all of it for transformers, or its adapters for peft."
        ),
    ] = None,
    dtype: Annotated[
        Dtype, typer.Option(help="The type of the weights in a folder for transformers.")
    ] = "float32",
    licence: Annotated[str | None, typer.Option(help="The model's licence, e.g. cc-by-4.0.")] = None,
) -> None:
    """Write a model with its features inside: 16 kHz sound in, log-probabilities out.

    Every file is loaded again and must give the model's own log-probabilities, or it is not kept.
    """
    from speech.export import LICENCE_MISSING, describe, require_formats

    _check_options(out, format, dtype)
    try:
        if format is None:
            require_formats(out)
        file = model_path(run, model)
        loaded = open_model(file, base_model=base_model)
        privacy, card = _told(run, base_model, loaded.metadata, licence, form=FORMS[format])
        metadata = describe(loaded, licence=licence or LICENCE_MISSING, privacy=privacy)
        if format is not None:
            readme = card or card_of_file(loaded, licence, privacy, form=FORMS[format])
            _write_folder(format, out[0], file, loaded, metadata, readme, dtype)
        else:
            _write_files(out, loaded, metadata, card)
    except (SpeechError, ConfigError, PrivacyError, ResumeRefused, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(REFUSED) from None


def _check_options(out: Sequence[Path], format: Format | None, dtype: Dtype) -> None:
    if format is not None and len(out) > 1:
        raise typer.BadParameter(f"--format {format} writes one folder, and {len(out)} are given; give one")
    if dtype != "float32" and format != "huggingface":
        raise typer.BadParameter("--dtype is for --format huggingface; leave it out, or give that format")


def _write_files(
    paths: Sequence[Path], loaded: LoadedModel, metadata: Mapping[str, str], card: str | None
) -> None:
    from speech.export import TOLERANCE, export_model

    for path in paths:
        done = export_model(loaded, path, metadata)
        size = path.stat().st_size / 1e6
        typer.echo(
            f"{path}: {size:.1f} MB; log-probabilities within {done.difference:.1g} of the model's "
            f"({TOLERANCE:g} is allowed)"
        )
    if card:
        beside = paths[0].with_suffix(".card.md")
        beside.write_text(card, encoding="utf-8")
        typer.echo(f"{beside}: model card")


def _write_folder(
    format: Format,
    path: Path,
    file: Path,
    loaded: LoadedModel,
    metadata: Mapping[str, str],
    readme: str,
    dtype: Dtype,
) -> None:
    from speech.export import write_huggingface, write_peft

    if format == "peft":
        write_peft(loaded, path, metadata, readme, trained=tensor_names(file))
        typer.echo(f"{path}: adapters for peft, with their model card")
        return
    done = write_huggingface(loaded, path, metadata, readme, dtype=dtype)
    typer.echo(
        f"{path}: {dtype} weights for transformers, with their model card; "
        f"losses within {done.difference:.1g} of the model's"
    )


def _of_file(metadata: Mapping[str, str]) -> str:
    """What a model file says by itself; raises `SpendingUnknown` where it must and does not."""
    from server.storage.ancestry import LINEAGE, promise_of

    stamp = metadata.get("privacy")
    if stamp is None:
        return NOT_FEDERATED
    if LINEAGE in metadata:
        return promise_of(metadata[LINEAGE])
    return "none" if stamp == "none" else ELSEWHERE


def _told(
    run: Path | None, base_model: Path | None, metadata: Mapping[str, str], licence: str | None, *, form: Form
) -> tuple[str, str | None]:
    """What the files say of privacy, and the card of a run."""
    if run is None:
        return _of_file(metadata), None
    from server.report.model_card import model_card
    from server.report.model_facts import ModelFacts
    from server.storage.run_folder import RunFolder

    folder = RunFolder(model_path(run, None).parent)
    config = config_of_run(folder.path)
    privacy = ModelFacts.of(folder, config, base_model).privacy
    return privacy, model_card(folder, config, licence, base_model=base_model, form=form)
