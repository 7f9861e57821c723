"""`murmur paper privacy`: every epsilon of the paper, printed and computed, beside that of its training."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cli.exits import REFUSED
from cli.paper.aligned import aligned
from cli.paper.epsilon_rows import epsilon_rows
from cli.progress import counted

if TYPE_CHECKING:
    from cli.paper.recomputed import Recomputed

HEADING = (
    *("table", "data", "sigma_DP", "z", "S", "K", "T", "printed", "order"),
    *("RDP there", "RDP best", "order", "PLD", "as trained", ""),
)
ABOUT = (
    "epsilon at delta = 1e-9; sampling rate q = S / K; S: cohort, K: population, T: rounds.",
    "RDP there: at the printed order. RDP best: at the best of our orders. Printed values have two digits.",
    "PLD: the tighter accountant; - where hardly any noise leaves it without a bound.",
    "as trained: epsilon of the training behind the row, with its real population and cohort. A row",
    "with another K is extrapolated: the same sigma_DP in a larger population, if the model came out alike.",
)


def privacy(
    table: Annotated[int | None, typer.Argument(metavar="[TABLE]", help="1, 17, 18 or 20; else all.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a list with an object for each row.")
    ] = False,
) -> None:
    """Recompute the paper's epsilons (half a minute), and those of its runs at their real population."""
    from cli.paper.recomputed import Recomputed

    known = sorted({row.table for row in epsilon_rows()})
    if table is not None and table not in known:
        typer.echo(
            f"murmur paper privacy: table {table}: states no epsilon; those that do are "
            f"{', '.join(map(str, known))}",
            err=True,
        )
        raise typer.Exit(REFUSED)
    rows = [row for row in epsilon_rows() if table in (None, row.table)]
    found = [Recomputed.of(row) for row in counted(rows, "epsilons", len(rows))]
    if as_json:
        typer.echo(json.dumps([one.describe() for one in found], allow_nan=False))
    else:
        typer.echo("\n".join(lines(found)))


def lines(found: Sequence[Recomputed]) -> list[str]:
    """The rows as a table, what its columns are, and the typing errors."""
    marked = [one for one in found if one.error]
    numbers = {id(one): f"({number})" for number, one in enumerate(marked, start=1)}
    rows = [_cells(one, numbers.get(id(one), "")) for one in found]
    reproduced = sum(one.reproduced for one in found)
    return [
        *ABOUT,
        "",
        *aligned([HEADING, *rows], left=(1, len(HEADING) - 1)),
        "",
        f"{reproduced} of {len(found)} rows are reproduced at the printed order. Typing errors of the paper:",
        *(f"{numbers[id(one)]} {one.error}" for one in marked),
    ]


def _cells(one: Recomputed, mark: str) -> tuple[str, ...]:
    from privacy.display import epsilon_text

    row = one.row
    return (
        f"{row.table}",
        f"{row.data} from {row.seed}",
        f"{row.sigma:g}e-6",
        f"{row.noise_multiplier:g}",
        f"{row.cohort:,}",
        f"{row.population:,}",
        f"{row.rounds:,}",
        f"{row.epsilon:g}",
        f"{row.order:g}",
        f"{one.at_order:.4g}",
        epsilon_text(one.rdp),
        f"{one.order:g}",
        "-" if one.pld in (None, math.inf) else epsilon_text(one.pld),
        epsilon_text(one.as_trained),
        mark,
    )
