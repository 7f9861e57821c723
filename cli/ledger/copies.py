"""`murmur ledger backup` and `restore`: a population's ledger as one file to keep on another disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from base.printable_text import one_line
from cli.exits import FAILED, REFUSED
from cli.ledger.command import LONGEST_LINE, NamedLedger, app
from recipes import ConfigError, runs_folder

RUNS = "The runs folder; by default that of the default recipe."
NAME = "The population's name (privacy.population-name)"


def _ledger(name: str, runs: Path | None) -> Path:
    from server.storage.populations import ledger_path

    return ledger_path(runs.absolute() if runs else runs_folder(), name)


@app.command("backup")
def backup(
    name: Annotated[str, typer.Argument(help=f"{NAME}, or a ledger or a run folder.")],
    file: Annotated[Path, typer.Argument(help="The file to write; none is overwritten.")],
    runs: Annotated[Path | None, typer.Option(help=RUNS)] = None,
) -> None:
    """Write a ledger and the notes beside it to one file; the file shows which speakers took part."""
    from privacy import LedgerCorrupt, PrivacyError
    from server.storage.ledger_copies import back_up

    try:
        named = _ledger(name, runs)
        ledger = named if named.is_file() else NamedLedger.of(Path(name)).ledger
        typer.echo(one_line(f"{file}: {back_up(ledger, file)} entries of {ledger}"))
    except (ConfigError, PrivacyError, OSError) as error:
        typer.echo(one_line(f"murmur ledger backup: {error}", most=LONGEST_LINE), err=True)
        raise typer.Exit(FAILED if isinstance(error, LedgerCorrupt) else REFUSED) from None


@app.command("restore")
def restore(
    name: Annotated[str, typer.Argument(help=f"{NAME}, whose ledger it is.")],
    file: Annotated[Path, typer.Argument(help="What `murmur ledger backup` wrote, or a copy of a ledger.")],
    runs: Annotated[Path | None, typer.Option(help=RUNS)] = None,
) -> None:
    """Bring a ledger back from a copy; one that holds more than the copy is never replaced."""
    from privacy import LedgerCorrupt, PrivacyError
    from server.storage.ledger_copies import restore as bring_back

    try:
        typer.echo(one_line(bring_back(_ledger(name, runs), file), most=LONGEST_LINE))
    except (PrivacyError, OSError) as error:
        typer.echo(one_line(f"murmur ledger restore: {error}", most=LONGEST_LINE), err=True)
        raise typer.Exit(FAILED if isinstance(error, LedgerCorrupt) else REFUSED) from None
