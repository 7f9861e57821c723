"""A process that simulates one federation: Flower's engine with our two apps in it.

It is the engine of `flwr run`, called as Flower's Python interface has it (`flwr.simulation.run_simulation`,
which Flower means to drop one day for its command line). No SuperLink, bundle and log stand between a person
and the first round, and the ServerApp's end is the run's end.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from threading import Thread
from typing import Any

import ray

from cli.run.simulation import COMPLETED, FAILED, OWN_RAY, Federation


def main() -> int:
    """Simulate the federation that comes as a line of JSON; returns `COMPLETED` or `FAILED`."""
    if not (line := sys.stdin.buffer.readline()):
        return FAILED  # the settings were refused
    Thread(target=_end_with_the_command, daemon=True).start()
    federation = Federation(**json.loads(line))
    Thread(target=_import_what_follows, daemon=True).start()  # while Ray starts
    # Flower takes a Ray that runs; the workers of one that it starts wait for an environment of their own.
    try:
        ray.init(federation.ray_address, include_dashboard=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises a plain one where its processes are not up after 30 seconds
        print(f"murmur run: {_without_ray(federation.ray_address, error)}", file=sys.stderr)
        return FAILED
    from flwr.simulation import run_simulation

    if not federation.verbose:
        logging.getLogger("flwr").setLevel(logging.ERROR)  # after the import, which sets it
    workers = {"num_cpus": federation.cpus_per_node, "num_gpus": federation.gpus_per_node}
    try:
        run_simulation(
            _server_app(federation, int(ray.cluster_resources().get("CPU", 0) // federation.cpus_per_node)),
            _client_app(federation.config),
            federation.supernodes,
            backend_config={"client_resources": workers},
        )
    except Exception as error:
        from server.entry import FAULTS

        if not isinstance(error, FAULTS):  # else it has been said
            traceback.print_exc()
        return FAILED
    return COMPLETED


def _without_ray(address: str, error: Exception) -> str:
    """What is said where Ray does not start, or the cluster at `address` does not answer any more."""
    if address != OWN_RAY:
        return f"no connection to the Ray cluster at {address} ({error}); `ray status` on it says how it is"
    return (
        f"Ray's processes did not start on this machine ({error}). Most often it is too busy: end other "
        "processes, or wait for them, and run the command again; nothing was drawn or spent"
    )


def _import_what_follows() -> None:
    """Flower's engine, which is needed first, and the server's work."""
    import_module("flwr.simulation")
    import_module("server.entry")


def _end_with_the_command() -> None:
    """Wait for the end of the standard input, then end this process and Ray's: an orphan would train on."""
    os.read(0, 1)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def await_nodes(grid: Any, nodes: int, seconds: float = 60.0) -> None:
    """Wait until so many are there, `seconds` at most.

    Flower registers them beside a ServerApp that has begun, and a node that is not there at registration
    takes no part in the run.
    """
    deadline = time.monotonic() + seconds
    while len(list(grid.get_node_ids())) < nodes and time.monotonic() < deadline:
        time.sleep(0.02)


def _server_app(federation: Federation, workers: int) -> Any:
    from flwr.serverapp import ServerApp

    app = ServerApp()

    @app.main()
    def with_config(grid: Any, context: Any) -> None:
        from server.entry import serve

        await_nodes(grid, federation.supernodes)
        serve(grid, replace(context, run_config=federation.config), workers)

    return app


def _client_app(config: dict[str, Any]) -> Any:
    from flwr.clientapp import ClientApp

    import client.app
    from client.simulation.flower_seam import WorkerPool
    from recipes.run_config import beside_the_update

    def with_config(message: Any, context: Any, answer: Callable[[Any, Any], Any]) -> Any:
        return answer(message, replace(context, run_config=config))

    WorkerPool.divides = not beside_the_update(str(config["local.algorithm"]))
    app = ClientApp(mods=[with_config])
    app.query()(client.app.query)
    app.train()(client.app.train)
    return app


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # the ServerApp's thread may be waiting for nodes that are gone
