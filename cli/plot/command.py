"""`murmur plot`: the main figures of runs, as PDF, SVG and PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.exits import REFUSED

FORMATS = ("pdf", "svg", "png")


def plot(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, side by side.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write to.")] = Path("figures"),
    format: Annotated[
        list[str] | None, typer.Option("--format", "-f", help="pdf, svg or png; repeatable. By default all.")
    ] = None,
) -> None:
    """Draw WER by epsilon and over rounds; of a raw-metrics simulation, each tensor's update norms too."""
    from cli.plot.figures import FIGURES, PlottedRun, figures_of
    from cli.plot.matplotlib_files import FigureError, save
    from cli.progress import counted
    from recipes import ConfigError, existing_run
    from server.report.metrics_lines import MetricsError

    try:
        formats = dict.fromkeys(format or FORMATS)
        if unknown := [one for one in formats if one not in FORMATS]:
            raise FigureError(f"--format {unknown[0]}: there are {', '.join(FORMATS)}")
        plotted = [PlottedRun.of(existing_run(run)) for run in runs]
        names = figures_of(plotted)
        for name in counted(names, "figures", len(names)):
            files = [out / f"{name}.{one}" for one in formats]
            save(FIGURES[name](plotted), files)
            typer.echo("\n".join(map(str, files)))
    except (ConfigError, FigureError, MetricsError, OSError) as error:
        typer.echo(f"murmur plot: {error}", err=True)
        raise typer.Exit(REFUSED) from None
