"""`murmur run`: a simulated federation through `flwr run`, with an exit status that is the run's own.

`flwr run --stream` ends with 0 even when the run failed, and tells a wrong setting only after Ray has
started. This command checks the configuration first, runs the same app by the same engine, shows its
log, and asks Flower how the run ended.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Annotated, Any, NoReturn

import tomli_w
import typer

from cli.composing import Flat, read_settings, staged_app
from cli.local_superlink import OWN_RAY, RAY_ADDRESS, SuperLink, SuperLinkError, local_superlink
from cli.probes import health
from cli.ray_cluster import ClusterError, usable_cluster
from recipes import ConfigError

COMPLETED = "finished:completed"
FLOWERS_OWN = re.compile(r"^(\x1b\[\d+m)?(INFO|WARNING|DEBUG) |^(Using SuperLink|Successfully installed)")


def run(
    recipe: Annotated[Path | None, typer.Option(help="A TOML recipe over the defaults.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", "-c", help="One setting, e.g. 'training.rounds=10'; repeatable."),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(help="Go on with the run of this folder, or with 'latest'; its recipe is kept."),
    ] = None,
    nodes: Annotated[int, typer.Option(min=1, help="Simulated nodes.")] = 8,
    cpus_per_node: Annotated[int, typer.Option(min=1, help="CPUs for a node that works.")] = 1,
    gpus_per_node: Annotated[float, typer.Option(min=0, help="GPUs (a share) for one.")] = 0.0,
    ray_address: Annotated[
        str, typer.Option(envvar=RAY_ADDRESS, help="A Ray cluster to use: HOST:PORT of its head, or 'auto'.")
    ] = OWN_RAY,
    verbose: Annotated[bool, typer.Option(help="Show Flower's own log lines too.")] = False,
) -> None:
    """Run a federation on this machine or a Ray cluster (Flower's simulation)."""
    try:
        settings = read_settings(setting or [])
        if ray_address != OWN_RAY:
            ray_address = usable_cluster(ray_address, cpus=cpus_per_node, gpus=gpus_per_node)
    except (ConfigError, ClusterError) as error:
        _refuse(error)
    federation = (
        f"num-supernodes={nodes} client-resources-num-cpus={cpus_per_node} "
        f"client-resources-num-gpus={gpus_per_node}"
    )
    try:
        with local_superlink(ray_address) as superlink:
            overrides = _checked(recipe, resume, settings)  # the SuperLink comes up meanwhile
            superlink.wait_until_healthy()
            status, details = _follow(superlink, overrides, federation, verbose=verbose)
    except SuperLinkError as error:
        typer.echo(f"murmur run: {error}", err=True)
        raise typer.Exit(1) from None
    if status != COMPLETED:
        typer.echo(f"murmur run: the run ended as {status}: {details or 'see above'}", err=True)
        if ray_address != OWN_RAY and health(ray_address):
            typer.echo(f"murmur run: the Ray cluster at {ray_address} is gone; --resume goes on", err=True)
        raise typer.Exit(1)


def _checked(recipe: Path | None, resume: str | None, settings: Flat) -> Flat:
    """The run's settings; a fault in them ends the command before anything is submitted."""
    from cli.run_settings import FAULTS, check, compose

    try:
        overrides = compose(recipe, resume, settings)
        check(overrides)
    except FAULTS as error:
        _refuse(error)
    return overrides


def _refuse(error: Exception) -> NoReturn:
    typer.echo(f"murmur run: {error}", err=True)
    raise typer.Exit(2) from None


def _follow(superlink: SuperLink, overrides: Flat, federation: str, *, verbose: bool) -> tuple[str, str]:
    """Submit, show the log to its end, return Flower's status and its details."""
    settings = superlink.folder / "settings.toml"
    settings.write_text(tomli_w.dumps(_nested(overrides)), encoding="utf-8")
    arguments = ["run", str(staged_app(superlink.folder / "app")), "--federation-config", federation]
    if overrides:
        arguments += ["--run-config", str(settings)]
    run_id = str(superlink.flwr(*arguments)["run-id"])
    try:
        _show_log(superlink, run_id, verbose=verbose)
    except KeyboardInterrupt:
        superlink.flwr("stop", run_id)
        typer.echo("\nmurmur run: stopped; what was released is in the run folder", err=True)
        raise typer.Exit(130) from None
    return _status(superlink, run_id)


def _show_log(superlink: SuperLink, run_id: str, *, verbose: bool) -> None:
    process = subprocess.Popen(
        superlink.command("log", run_id, "--stream"),
        env=superlink.environment,
        cwd=superlink.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        for line in process.stdout or ():
            if verbose or not FLOWERS_OWN.match(line):
                typer.echo(line, nl=False)
    finally:
        process.terminate()
        process.wait()


def _status(superlink: SuperLink, run_id: str) -> tuple[str, str]:
    listed: Any = superlink.flwr("ls", "--run-id", run_id)["runs"]
    return str(listed[0]["status"]), str(listed[0].get("status-details") or "")


def _nested(flat: Flat) -> dict[str, dict[str, Any]]:
    nested: dict[str, dict[str, Any]] = {}
    for key, value in flat.items():
        section, _, name = key.partition(".")
        nested.setdefault(section, {})[name] = value
    return nested
