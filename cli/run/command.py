"""`murmur run`: a simulated federation, on Flower's simulation engine, whose end is the exit status.

`flwr run` runs the same app by the same engine, but `flwr run --stream` ends with 0 even when the run failed,
tells a wrong setting only after Ray has started, and takes seconds more to start.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from cli.composing import Flat, read_settings
from cli.exits import FAILED, INTERRUPTED, REFUSED
from cli.run.options import CpusPerNode, GpusPerNode, Hosts, Nodes, RayAddress, Settings, Verbose
from cli.run.simulation import OWN_RAY, Federation, simulation
from recipes import ConfigError, RunConfig


def run(
    recipe: Annotated[Path | None, typer.Option(help="A TOML recipe over the defaults.")] = None,
    setting: Settings = None,
    resume: Annotated[
        str | None,
        typer.Option(help="Go on with the run of this folder, or with 'latest'; its recipe is kept."),
    ] = None,
    nodes: Nodes = 8,
    hosts: Hosts = 0,
    cpus_per_node: CpusPerNode = 1,
    gpus_per_node: GpusPerNode = 0.0,
    ray_address: RayAddress = OWN_RAY,
    verbose: Verbose = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only say what the run will take: seconds, bytes, memory, epsilon."),
    ] = False,
) -> None:
    """Run a federation on this machine or a Ray cluster (Flower's simulation)."""
    cores = os.cpu_count() or 1
    if ray_address == OWN_RAY and cpus_per_node > cores:
        _refuse(
            ConfigError(f"--cpus-per-node {cpus_per_node}: this machine has {cores} CPUs; give at most that")
        )
    if dry_run:
        config = _checked(recipe, resume, setting or [], nodes, hosts)
        return _foretell(config, nodes, max(1, cores // cpus_per_node))
    try:
        with simulation() as engine:  # which is loaded while the settings are checked
            config = _checked(recipe, resume, setting or [], nodes, hosts)
            if ray_address != OWN_RAY:
                ray_address = _usable(ray_address, cpus_per_node, gpus_per_node)
            completed = engine.run(
                Federation(
                    config=config,
                    supernodes=hosts or nodes,
                    cpus_per_node=cpus_per_node,
                    gpus_per_node=gpus_per_node,
                    ray_address=ray_address,
                    verbose=verbose,
                )
            )
    except KeyboardInterrupt:
        typer.echo("\nmurmur run: stopped; what was released is in the run folder", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if not completed:
        typer.echo("murmur run: the run failed, see above", err=True)
        if ray_address != OWN_RAY and _is_gone(ray_address):
            typer.echo(f"murmur run: the Ray cluster at {ray_address} is gone; --resume goes on", err=True)
        raise typer.Exit(FAILED)


def _checked(
    recipe: Path | None, resume: str | None, settings: Sequence[str], nodes: int, hosts: int
) -> Flat:
    """The whole run configuration; a fault in it ends the command before anything is done."""
    from cli.run.settings import FAULTS, check, compose

    try:
        overrides = compose(recipe, resume, read_settings(settings))
        overrides["training.hosted-nodes"] = nodes if hosts else 0
        return check(overrides, nodes, hosts).to_flat()
    except FAULTS as error:
        _refuse(error)


def _foretell(config: Flat, nodes: int, workers: int) -> None:
    """Print what the run would take on so many workers of this machine."""
    from cli.run.forecast import forecast
    from cli.run.settings import FAULTS

    try:
        typer.echo("\n".join(forecast(RunConfig.from_flat(config), nodes, workers).lines()))
    except FAULTS as error:
        _refuse(error)


def _usable(ray_address: str, cpus: int, gpus: float) -> str:
    """The address of the Ray cluster; one that will not do ends the command before anything is done."""
    from cli.run.ray_cluster import ClusterError, usable_cluster

    try:
        return usable_cluster(ray_address, cpus=cpus, gpus=gpus)
    except ClusterError as error:
        _refuse(error)


def _is_gone(ray_address: str) -> bool:
    from cli.deploy.probes import health

    return bool(health(ray_address))


def _refuse(error: Exception) -> NoReturn:
    typer.echo(f"murmur run: {error}", err=True)
    raise typer.Exit(REFUSED) from None
