"""`murmur paper list` and `murmur paper show`: the rows of the paper, a line each, and one as a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cli.exits import REFUSED
from cli.paper.aligned import aligned

if TYPE_CHECKING:
    from cli.paper.epsilon_rows import EpsilonRow
    from cli.paper.rows import PaperRow, Rates

ROW_HELP = "A row, as `murmur paper list` names it."
HEADING = ("row", "speech", "seed", "cohort", "sigma_DP", "", "WER %", "what")
MARKS = "?: the paper leaves something open that the row needs. !: our settings cannot express all of it."


def list_rows(
    table: Annotated[int | None, typer.Argument(metavar="[TABLE]", help="Only this table.")] = None,
) -> None:
    """List the rows of the paper's tables: what is trained, and the word error rates that are printed."""
    from cli.paper.rows import paper_rows

    rows = [row for row in paper_rows() if table is None or row.name.startswith(f"{table}/")]
    if not rows:
        typer.echo(f"murmur paper list: table {table}: no row of it is here; 1 and 3 to 21 are", err=True)
        raise typer.Exit(REFUSED)
    typer.echo("\n".join(listed(rows)))


def show(row: Annotated[str, typer.Argument(metavar="TABLE/ROW", help=ROW_HELP)]) -> None:
    """Print a row as a recipe for `murmur run --recipe`, with its error rates and epsilons as comments."""
    from cli.paper.rows import find_row
    from recipes import ConfigError

    try:
        typer.echo(as_recipe(find_row(row)))
    except ConfigError as error:
        typer.echo(f"murmur paper show: {error}", err=True)
        raise typer.Exit(REFUSED) from None


def listed(rows: Sequence[PaperRow]) -> list[str]:
    """One line a row, under a heading, and what the marks mean."""
    lines = aligned([HEADING, *map(_cells, rows)], left=(0, 1, 2, 5, 6, 7))
    return [*lines, "", *_splits(rows), MARKS]


def _cells(row: PaperRow) -> tuple[str, ...]:
    return (
        row.name,
        row.data,
        row.seed,
        f"{row.recipe['training.cohort']:g}",
        f"{row.sigma:g}e-6" if row.sigma else "-",
        ("?" if row.unknown else "") + ("!" if row.needs else ""),
        " / ".join(_rate(rate) for rate in row.wer.values()),
        row.about,
    )


def _splits(rows: Sequence[PaperRow]) -> list[str]:
    """Which error rate is of which split."""
    orders = dict.fromkeys(" / ".join(row.wer) for row in rows)
    return [f"WER: {'; or '.join(orders)}, in this order"]


def _rate(rate: float | None) -> str:
    return "unknown" if rate is None else f"{rate:.1f}"


def rates_text(rates: Rates) -> str:
    """Error rates in words: "dev 18.4 %, test 22.0 %"."""
    return ", ".join(
        f"{split} {_rate(rate)}" + ("" if rate is None else " %") for split, rate in rates.items()
    )


def as_recipe(row: PaperRow) -> str:
    """The whole recipe in TOML, under comments with all that is known of the row."""
    from cli.composing import as_toml

    return "\n".join(f"# {line}".rstrip() for line in heading(row)) + "\n\n" + as_toml(row.recipe)


def heading(row: PaperRow) -> list[str]:
    """What is known of a row, line by line: error rates, epsilons, what is open, how it differs."""
    cohort = f"a cohort of {row.recipe['training.cohort']:,g}"
    facts = {
        "speech": f"{row.data_about}; {row.speakers:,} speakers, {cohort}",
        "manifest": row.prepare,
        "printed WER": rates_text(row.wer),
        "WER of the seed": rates_text(row.at_seed),
        "central training": rates_text(row.central),
        "unknown": row.unknown,
        "needs": row.needs,
    }
    changes = [f"  {key} = {_toml(value)}" for key, value in row.changes.items()]
    return [
        f"{row.name} of arXiv 2310.00098: {row.about}",
        *(f"{name}: {text}" for name, text in facts.items() if text),
        *_epsilons(row),
        "differs from the base recipe in:" if changes else "is the base recipe",
        *changes,
    ]


def _epsilons(row: PaperRow) -> list[str]:
    if not row.sigma:
        return ["epsilon: infinite, for no noise is added"]
    if not row.epsilons:
        return ["printed epsilon: unknown, for none is printed at this cohort"]
    return [
        "printed epsilon at delta 1e-9 (`murmur paper privacy` recomputes them):",
        *(
            f"  {one.epsilon:g}{_corrected(one)} with {one.cohort:,} of {one.population:,} speakers"
            + ("" if one.is_trained else ", extrapolated")
            for one in row.epsilons
        ),
    ]


def _corrected(one: EpsilonRow) -> str:
    return f" (a typing error for {one.meant:g})" if one.wrong == "epsilon" else ""


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else f"{value}"
