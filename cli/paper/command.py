"""`murmur paper`: its subcommands."""

from __future__ import annotations

import typer

from cli.paper.privacy import privacy
from cli.paper.results.command import board
from cli.paper.run import compare, run
from cli.paper.show import list_rows, show
from cli.paper.small.command import small

app = typer.Typer(
    name="paper",
    help="Work with the tables of arXiv 2310.00098: rows as recipes, error rates and epsilons to compare.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
app.command("list")(list_rows)
app.command("show")(show)
app.command("run")(run)
app.command("compare")(compare)
app.command("privacy")(privacy)
app.command("small")(small)
app.command("board")(board)
