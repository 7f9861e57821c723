"""`murmur paper board`: all results of a folder beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.exits import REFUSED

RESULTS = Path("results")
FOLDER_HELP = "The folder of results: a JSON file a run (docs/results_schema.md)."


def board(
    folder: Annotated[Path, typer.Option(help=FOLDER_HELP)] = RESULTS,
    plot: Annotated[Path | None, typer.Option(metavar="PNG", help="Also draw it to this file.")] = None,
) -> None:
    """Print word error rates by true epsilon, and draw the Pareto front of both."""
    from cli.paper.results.board import board as sorted_lines
    from cli.paper.results.board import board_text, draw_board
    from cli.paper.results.record import ResultError, read_results

    try:
        lines = sorted_lines(read_results(folder).values())
        typer.echo("\n".join(board_text(lines)))
        if plot is not None:
            draw_board(lines, plot)
    except (ResultError, OSError) as error:
        typer.echo(f"murmur paper board: {error}", err=True)
        raise typer.Exit(REFUSED) from None
