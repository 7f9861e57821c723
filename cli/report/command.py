"""`murmur report`: a run, or several side by side, as one HTML file that a person reads."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cli.exits import REFUSED
from cli.outputs import require_folder
from privacy import PrivacyError
from recipes import ConfigError, existing_run
from server.errors import ResumeRefused
from speech.errors import SpeechError


class Reader(StrEnum):
    """Who reads a report."""

    public = "public"
    owner = "owner"


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folders, or names in the runs folder.")
    ],
    reader: Annotated[
        Reader,
        typer.Option(
            "--for",
            help="public: only what the ledger covers. owner: also cohorts, nodes, traffic and metrics "
            "without noise, which must stay with the server.",
        ),
    ] = Reader.public,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The file; by default report-public.html or report-owner.html."),
    ] = None,
    evaluation: Annotated[
        list[Path] | None,
        typer.Option(
            help="What `murmur evaluate --run RUN --json` wrote, for its speakers and transcripts, and "
            "recordings with --sound; repeatable."
        ),
    ] = None,
    corpus_may_be_published: Annotated[
        bool,
        typer.Option(
            "--corpus-may-be-published",
            help="A public report may name held-out speakers, quote them and have their recordings.",
        ),
    ] = False,
) -> None:
    """Write one HTML file about a run, or several side by side."""
    from cli.report.evaluations import by_run
    from cli.report.page_view import Asked, page
    from cli.report.run_facts import RunFacts

    target = out or Path(f"report-{reader.value}.html")
    require_folder(target)
    asked = Asked(
        audience=reader.value,
        corpus_may_be_published=corpus_may_be_published,
        command=f"murmur report --for {reader.value}",
    )
    try:
        facts = [RunFacts.of(existing_run(one).resolve()) for one in dict.fromkeys(runs)]
        text = page(facts, by_run(evaluation or [], facts), asked)
        _write(target, text, private=reader is Reader.owner)
    except (SpeechError, ConfigError, PrivacyError, ResumeRefused, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(REFUSED) from None
    typer.echo(f"{target}: {len(text.encode()) / 1e6:.1f} MB, for {_reader(reader)}")


def _write(target: Path, text: str, *, private: bool) -> None:
    """Write the file; only its owner can read what must stay with the server."""
    if private:
        target.touch(0o600)
        target.chmod(0o600)
    target.write_text(text, encoding="utf-8")


def _reader(reader: Reader) -> str:
    if reader is Reader.public:
        return "the public: it has only what the ledger covers"
    return "the owner: it has what must stay secret, so keep it with the server"
