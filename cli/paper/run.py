"""`murmur paper run` and `murmur paper compare`: a row of the paper on this machine, ours beside theirs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from cli.exits import REFUSED
from cli.paper.show import ROW_HELP
from cli.run.command import run as run_federation
from cli.run.options import CpusPerNode, GpusPerNode, Nodes, RayAddress, Settings, Verbose
from cli.run.simulation import OWN_RAY

if TYPE_CHECKING:
    from cli.paper.rows import PaperRow


def run(
    row: Annotated[str, typer.Argument(metavar="TABLE/ROW", help=ROW_HELP)],
    corpus: Annotated[Path, typer.Option(metavar="PATH", help="The manifest of its speech, or its folder.")],
    seed: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="The model that it starts from, unless that is random."),
    ] = None,
    setting: Settings = None,
    nodes: Nodes = 8,
    cpus_per_node: CpusPerNode = 1,
    gpus_per_node: GpusPerNode = 0.0,
    ray_address: RayAddress = OWN_RAY,
    verbose: Verbose = False,
) -> None:
    """Run a row as `murmur run` runs a recipe, then print its error rates beside the paper's."""
    from cli.composing import read_settings
    from recipes import ConfigError, runs_folder

    try:
        found = _found(row, seed)
        runs = runs_folder(str(read_settings(setting or []).get("run.folder", "")))
    except ConfigError as error:
        _refuse("run", error)
    for remark in _remarks(found):
        typer.echo(remark, err=True)
    with TemporaryDirectory(prefix="murmur-") as folder:
        run_federation(
            recipe=_written(found, corpus, seed, Path(folder)),
            setting=setting,
            nodes=nodes,
            cpus_per_node=cpus_per_node,
            gpus_per_node=gpus_per_node,
            ray_address=ray_address,
            verbose=verbose,
        )  # which ends the command if the run fails
    typer.echo("\n".join(("", *_compared("run", found, (runs / "latest").resolve()))))


def compare(
    row: Annotated[str, typer.Argument(metavar="TABLE/ROW", help=ROW_HELP)],
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Its run folder, or its name in the runs folder.")
    ] = Path("latest"),
) -> None:
    """Print the error rates of a finished run beside those of a row."""
    from cli.paper.rows import find_row
    from recipes import ConfigError, existing_run

    try:
        found = find_row(row)
    except ConfigError as error:
        _refuse("compare", error)
    typer.echo("\n".join(_compared("compare", found, existing_run(run).resolve())))


def _found(name: str, seed: Path | None) -> PaperRow:
    """The row. Raises `ConfigError` if it starts from a model and none is given, or the other way round."""
    from cli.paper.rows import NO_SEED, find_row
    from recipes import ConfigError

    row = find_row(name)
    if row.seed != NO_SEED and seed is None:
        raise ConfigError(
            f"{row.name}: it starts from {row.seed}; give that model by --seed "
            "(`murmur pretrain` makes it, see recipes/pretrain/paper-seed.toml)"
        )
    if row.seed == NO_SEED and seed is not None:
        raise ConfigError(f"{row.name}: it starts from random weights; leave out --seed {seed}")
    return row


def _remarks(row: PaperRow) -> list[str]:
    remarks = {"unknown": row.unknown, "our settings cannot express": row.needs}
    return [f"{row.name}: {what}: {text}" for what, text in remarks.items() if text]


def _written(row: PaperRow, corpus: Path, seed: Path | None, folder: Path) -> Path:
    """The row's recipe as a file, with the paths of this machine."""
    from cli.composing import as_toml
    from recipes import resolve

    paths = {"corpus.path": str(resolve(corpus)), **({"model.seed": str(resolve(seed))} if seed else {})}
    file = folder / "recipe.toml"
    file.write_text(as_toml({**row.recipe, **paths}), encoding="utf-8")
    return file


def _compared(command: str, row: PaperRow, folder: Path) -> Sequence[str]:
    from cli.paper.comparison import comparison
    from recipes import ConfigError

    try:
        return comparison(row, folder)
    except ConfigError as error:
        _refuse(command, error)


def _refuse(command: str, error: Exception) -> NoReturn:
    typer.echo(f"murmur paper {command}: {error}", err=True)
    raise typer.Exit(REFUSED) from None
