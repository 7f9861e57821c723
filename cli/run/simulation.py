"""Flower's simulation engine as a process that ends with the command which wants it.

`cli.run.simulation_process` is what it does. It imports Ray while the settings are checked. It works in an
empty folder, since Ray's workers import what lies in the working directory, whatever that is. It leads a
process group to which Ray's daemons belong, and ends it when its standard input ends: so all of it ends with
the command, however that ends.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import IO, Any, cast

from cli.processes import QUIET

RAY_ADDRESS = "RAY_ADDRESS"  # the variable in which Ray looks for a cluster
OWN_RAY = "local"  # Ray's name for one that is started for the run and ends with it
COMPLETED, FAILED = 0, 1


@dataclass(frozen=True, kw_only=True)
class Federation:
    """What is simulated and where. `config` is the whole flat run configuration."""

    config: dict[str, Any]
    supernodes: int
    cpus_per_node: int
    gpus_per_node: float
    ray_address: str
    verbose: bool


class Simulation:
    """The process, which waits for a federation."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def run(self, federation: Federation) -> bool:
        """Simulate it; returns whether it was completed. What it prints goes where ours goes."""
        with suppress(BrokenPipeError):  # it has ended already, and said why
            cast(IO[bytes], self._process.stdin).write(json.dumps(asdict(federation)).encode() + b"\n")
        return self._process.wait() == COMPLETED


@contextmanager
def simulation() -> Iterator[Simulation]:
    """The process, for the time of the block."""
    with (
        tempfile.TemporaryDirectory(prefix="murmur-", ignore_cleanup_errors=True) as folder,
        _interrupted_by_every_signal(),
        subprocess.Popen(
            [sys.executable, "-m", "cli.run.simulation_process"],
            cwd=folder,
            env={**os.environ, **QUIET},
            stdin=subprocess.PIPE,
            bufsize=0,  # else a process that has ended would fail once more, as its pipe is closed
            start_new_session=True,
        ) as process,
    ):
        try:
            yield Simulation(process)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def _interrupted_by_every_signal() -> Iterator[None]:
    """SIGTERM, and a terminal that closes, are as Ctrl-C is: what was started here ends too."""
    before = {one: signal.signal(one, signal.default_int_handler) for one in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
