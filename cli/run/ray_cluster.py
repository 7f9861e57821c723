"""A Ray cluster that runs already: whether a simulation can run on it, asked before anything starts."""

from __future__ import annotations

import logging
import os
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from cli.deploy.probes import health
from cli.processes import QUIET

FIND = "auto"  # Ray's name for the cluster that `ray start` made this machine a node of
PACKAGES = ("murmuration", "flwr")
ANSWER_SECONDS = 60.0

RayNode = dict[str, Any]


class ClusterError(RuntimeError):
    """A simulation cannot run on this cluster; the message says why, and what would mend it."""


def usable_cluster(address: str, *, cpus: int, gpus: float) -> str:
    """The HOST:PORT of a cluster that has room for a worker, and our packages on each of its nodes.

    Raises:
        ClusterError: If none answers there, or it runs another Ray or Python, is too small, or has other
            packages.
    """
    os.environ.update(QUIET)  # Ray reads it when it is imported
    if address == FIND:
        address = _found()
    _require_head(address)
    import ray

    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterError(
            f"--ray-address {address}: {error} (this machine must be a node of the cluster: `ray start` "
            "makes it one, and `ray status` shows them)"
        ) from None
    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        require_room(nodes, cpus, gpus)
        for node in nodes:
            require_packages(f"Ray node {node['NodeManagerAddress']}", _packages_on(node))
        return address
    finally:
        ray.shutdown()


def require_room(nodes: list[RayNode], cpus: int, gpus: float) -> None:
    """That one of the nodes has room for a worker, by Flower's own count: whole workers, node by node."""
    resources = [node["Resources"] for node in nodes]
    if any(has.get("CPU", 0) >= cpus and has.get("GPU", 0) >= gpus for has in resources):
        return
    sizes = ", ".join(f"{has.get('CPU', 0):g} CPUs and {has.get('GPU', 0):g} GPUs" for has in resources)
    raise ClusterError(
        f"no Ray node has room for a worker of {cpus} CPUs and {gpus:g} GPUs (they have {sizes}): lower "
        "--cpus-per-node or --gpus-per-node, or add a node with more (`ray start --num-cpus`)"
    )


def require_packages(where: str, found: dict[str, str]) -> None:
    """That a Ray node has the same releases as this machine; each imports its own, not this machine's."""
    for package, theirs in found.items():
        if theirs != version(package):
            raise ClusterError(
                f"{where} has {package} {theirs}, this machine {version(package)}: install the same there, "
                "for the Python that Ray runs with"
            )


def _found() -> str:
    """Where `ray start` here last had its head. (Ray's own "auto" takes any Ray, another run's as well.)"""
    from ray._private.services import find_bootstrap_address

    found: str | None = find_bootstrap_address(None)
    if found is None:
        raise ClusterError(
            f"--ray-address {FIND}: this machine is no node of a Ray cluster; `ray start` makes it one (a "
            "cluster with a --temp-dir of its own is found by HOST:PORT alone)"
        )
    return found


def _require_head(address: str) -> None:
    """That `address` is the head of a cluster: `ray.init` would try for many minutes, whatever is there."""
    _, _, port = address.rpartition(":")
    if "/" in address or not port.isdigit():
        raise ClusterError(
            f"--ray-address {address}: give HOST:PORT of the cluster's head, or {FIND!r} for the one that "
            "this machine is a node of (Ray Client's ray://HOST:PORT will not do)"
        )
    if fault := health(address):
        raise ClusterError(
            f"--ray-address {address}: no Ray head answers there ({fault}); `ray start --head --port={port}` "
            "starts one"
        )


def _packages_on(node: RayNode) -> dict[str, str]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def versions() -> dict[str, str]:  # travels by value, since the node may not have this module
        found = {}
        for package in PACKAGES:
            try:
                found[package] = version(package)
            except PackageNotFoundError:
                found[package] = "not installed"
        return found

    place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    there = ray.remote(versions).options(num_cpus=0, max_retries=0, scheduling_strategy=place)
    try:
        found: dict[str, str] = ray.get(there.remote(), timeout=ANSWER_SECONDS)
    except ray.exceptions.RayError as error:
        raise ClusterError(
            f"Ray node {node['NodeManagerAddress']} runs no task ({type(error).__name__}): see its logs"
        ) from None
    return found
