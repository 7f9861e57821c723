"""The options of a simulated run, which `murmur run` and `murmur paper run` have alike."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.run.simulation import RAY_ADDRESS

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", "-c", help="One setting, e.g. 'training.rounds=10'; repeatable."),
]
Nodes = Annotated[int, typer.Option(min=1, help="Simulated nodes.")]
CpusPerNode = Annotated[int, typer.Option(min=1, help="CPUs for a node that works.")]
GpusPerNode = Annotated[float, typer.Option(min=0, help="GPUs (a share) for one.")]
RayAddress = Annotated[
    str, typer.Option(envvar=RAY_ADDRESS, help="A Ray cluster to use: HOST:PORT of its head, or 'auto'.")
]
Verbose = Annotated[bool, typer.Option(help="Show Flower's own log lines too.")]
