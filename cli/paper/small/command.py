"""`murmur paper small`: make what is missing of the small experiments, and write their results book."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from cli.exits import INTERRUPTED, REFUSED
from cli.paper.results.command import FOLDER_HELP, RESULTS

BOOK = Path("docs/results.md")


def small(
    experiment: Annotated[
        list[str] | None,
        typer.Argument(metavar="[EXPERIMENT]...", help="Some; else all that take an hour together."),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="All experiments at the full size: many hours.")
    ] = False,
    folder: Annotated[Path, typer.Option(help=FOLDER_HELP)] = RESULTS,
    book: Annotated[Path, typer.Option(help="The page to write.")] = BOOK,
    speech: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="A corpus with the splits train and test; else the embedded one."),
    ] = None,
    again: Annotated[
        list[str] | None,
        typer.Option(metavar="CELL[/seed-N]", help="Make this again though it is there; repeatable."),
    ] = None,
    experiments: Annotated[
        Path | None, typer.Option(metavar="TOML", help="Another file like recipes/paper/small.toml.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time, one core each; by default one for each core.")
    ] = None,
) -> None:
    """Run what is missing of the paper's experiments at small scale, and write their results book.

    Without a name and --full: those that two cores make in an hour.
    """
    from cli.paper.results.plotting import pyplot
    from cli.paper.results.record import ResultError
    from cli.paper.small.book import Book
    from cli.paper.small.experiments import SMALL, STUDIES, read_study
    from cli.paper.small.jobs import Jobs
    from cli.paper.small.running import Running, commit
    from cli.paper.small.speech import Source
    from recipes import ConfigError
    from speech.errors import SpeechError

    try:
        file = experiments or SMALL
        study = read_study(file, full=full)
        books = {one.stem: one for one in (*STUDIES, file)}.values()
        studies = [read_study(one, full=size) for one in books for size in (False, True)]
        chosen = study.chosen(experiment or [])
        pyplot()  # refuses before any run, not after an hour
        running = Running(
            jobs=Jobs(study=study, source=Source.of(speech, study.shared_speakers), commit=commit()),
            folder=folder,
            processes=processes or len(os.sched_getaffinity(0)),
            say=typer.echo,
        )
        running.complete(chosen, again or [])
        Book(folder, book).write(studies)
    except KeyboardInterrupt:
        typer.echo("\nmurmur paper small: stopped; the same command goes on from here", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except (ConfigError, ResultError, SpeechError, OSError) as error:
        _refuse(error)
    except Exception as error:
        from server.entry import FAULTS  # here, for torch takes a second or two

        if not isinstance(error, FAULTS):
            raise
        _refuse(error)
    typer.echo(f"written: {book}")


def _refuse(error: Exception) -> NoReturn:
    typer.echo(f"murmur paper small: {error}", err=True)
    raise typer.Exit(REFUSED) from None
