"""`murmur track`: give the public metrics of a run folder to the trackers that a team has.

It reads the folder and changes nothing in it. So it runs beside any run, on any machine that has the folder,
for runs of the past too, and neither the server nor the nodes need a tracker's library.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.exits import INTERRUPTED, REFUSED

if TYPE_CHECKING:
    from cli.track.trackers import Tracker


def track(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or its name in the runs folder.")],
    to: Annotated[list[str], typer.Option(help="tensorboard, mlflow or wandb; repeatable.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write to.")] = Path("tracked"),
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with each round until the run has ended.")
    ] = False,
    histograms: Annotated[
        bool, typer.Option(help="Also the tensors of the seed model and of the newest model.")
    ] = True,
) -> None:
    """Give the metrics of a run to TensorBoard, MLflow or Weights & Biases."""
    from cli.track.trackers import TrackError
    from recipes import existing_run
    from server.report.metrics_lines import MetricsError

    try:
        _track(existing_run(run).resolve(), list(dict.fromkeys(to)), out, follow, histograms)
    except KeyboardInterrupt:
        typer.echo("\nmurmur track: stopped; what was tracked stays", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except (TrackError, MetricsError, OSError) as error:
        typer.echo(f"murmur track: {error}", err=True)
        raise typer.Exit(REFUSED) from None


def _track(folder: Path, names: Sequence[str], out: Path, follow: bool, histograms: bool) -> None:
    from cli.progress import progress_bar
    from cli.track.public_run import new_lines, public_settings
    from cli.track.trackers import TRACKERS, TrackError
    from server.report.metrics_lines import read_metrics

    if unknown := [name for name in names if name not in TRACKERS]:
        raise TrackError(f"--to {unknown[0]}: there are {', '.join(TRACKERS)}")
    read_metrics(folder)  # refuses before anything is written
    settings = public_settings(folder)
    trackers = [TRACKERS[name](out, folder.name, settings) for name in names]
    try:
        newest, total = 0, float(settings["training.rounds"]) if "training.rounds" in settings else None
        with progress_bar("rounds", total) as bar:
            for line in new_lines(folder, follow=follow):
                newest = line.round
                for tracker in trackers:
                    tracker.log(line.round, line.measured)
                bar(line.round)
        if histograms:
            _give_tensors(folder, newest, trackers)
    finally:
        for tracker in trackers:
            tracker.close()
    typer.echo("\n".join(f"{name}: {one.place}" for name, one in zip(names, trackers, strict=True)))


def _give_tensors(folder: Path, newest: int, trackers: Sequence[Tracker]) -> None:
    from cli.track.public_run import released_tensors

    taking = [tracker for tracker in trackers if tracker.histograms]
    if taking:
        for number, name, values in released_tensors(folder, newest):
            for tracker in taking:
                tracker.histogram(number, f"model/{name}", values)
