"""The options of a simulated run, which `murmur run` and `murmur paper run` have alike."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.run.simulation import RAY_ADDRESS

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", "-c", metavar="KEY=VALUE", help="A setting over the recipe's; repeatable."),
]
Nodes = Annotated[int, typer.Option(min=1, help="How many nodes to simulate.")]
Hosts = Annotated[
    int,
    typer.Option(min=0, help="How many SuperNodes hold the nodes together; 0: each node is one."),
]
CpusPerNode = Annotated[int, typer.Option(min=1, help="CPUs for each node that works.")]
GpusPerNode = Annotated[float, typer.Option(min=0, help="GPUs for each, or a share of one.")]
RayAddress = Annotated[
    str, typer.Option(envvar=RAY_ADDRESS, help="A Ray cluster to use: HOST:PORT of its head, or 'auto'.")
]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show Flower's own log lines too.")]
