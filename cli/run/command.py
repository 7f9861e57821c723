"""`murmur run`: a simulated federation, on Flower's simulation engine, whose end is the exit status.

`flwr run` runs the same app by the same engine, but `flwr run --stream` ends with 0 even when the run failed,
tells a wrong setting only after Ray has started, and takes seconds more to start.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from cli.exits import FAILED, INTERRUPTED, REFUSED
from cli.run.options import CpusPerNode, GpusPerNode, Hosts, Nodes, RayAddress, Settings, Verbose
from cli.run.simulation import OWN_RAY, Federation, simulation

HOSTED = "training.hosted-nodes"

if TYPE_CHECKING:  # what checks settings is imported when the engine's process has begun to load
    from cli.composing import Flat


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
    _require_whole_gpus(gpus_per_node)
    if ray_address == OWN_RAY:
        _require_on_this_machine(cores, cpus_per_node, gpus_per_node)
    if dry_run:
        config = _checked(recipe, resume, setting or [], nodes, hosts)
        return _foretell(config, nodes, hosts, max(1, cores // cpus_per_node))
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


def _require_whole_gpus(gpus: float) -> None:
    """Ray gives a worker a share of one GPU, or whole ones."""
    if not math.isfinite(gpus) or (gpus > 1 and not gpus.is_integer()):
        _refuse(f"--gpus-per-node {gpus:g}: give a share of one GPU, or a whole number of them")


def _require_on_this_machine(cores: int, cpus: int, gpus: float) -> None:
    """That this machine has what one worker is to get; of a cluster, the cluster is asked."""
    if cpus > cores:
        _refuse(f"--cpus-per-node {cpus}: this machine has {cores} CPUs; give at most that")
    if gpus > 0 and gpus > (there := _gpus()):
        remedy = "give at most that" if there else "leave the option out, and it trains on its CPUs"
        _refuse(f"--gpus-per-node {gpus:g}: this machine has {there} GPUs that torch can use; {remedy}")


def _gpus() -> int:
    import torch  # here, for it takes a second or two

    return torch.cuda.device_count()


def _checked(
    recipe: Path | None, resume: str | None, settings: Sequence[str], nodes: int, hosts: int
) -> Flat:
    """The whole run configuration; a fault in it ends the command before anything is done."""
    from cli.composing import read_settings
    from cli.run.settings import FAULTS, check, compose
    from recipes import ConfigError

    try:
        given = read_settings(settings)
        if HOSTED in given:
            raise ConfigError(f"--set {HOSTED}={given[HOSTED]}: give --nodes and --hosts in its place")
        composed, hosted = compose(recipe, resume, given), nodes if hosts else 0
        if not resume and composed.get(HOSTED, 0) not in (0, hosted):
            raise ConfigError(
                f"{recipe}: {HOSTED} = {composed[HOSTED]}: give --nodes and --hosts in its place"
            )
        return check({**composed, HOSTED: hosted}, nodes, hosts).to_flat()
    except FAULTS as error:
        _refuse(error)


def _foretell(config: Flat, nodes: int, hosts: int, workers: int) -> None:
    """Print what the run would take on so many workers of this machine."""
    from cli.run.forecast import forecast
    from cli.run.settings import FAULTS
    from recipes import RunConfig

    try:
        typer.echo("\n".join(forecast(RunConfig.from_flat(config), nodes, workers, hosts).lines()))
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


def _refuse(error: Exception | str) -> NoReturn:
    typer.echo(f"murmur run: {error}", err=True)
    raise typer.Exit(REFUSED) from None
