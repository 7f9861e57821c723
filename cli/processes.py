"""Processes that we start: their quiet environment, the commands of this installation, a free port."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_prestart_worker_first_driver": "0",  # with it Ray starts later, by what workers gain
    "RAY_memory_monitor_refresh_ms": "0",  # it would end a node for the memory of one of its speakers
    "RAY_max_direct_call_object_size": "8388608",  # an object in its store costs 5 ms of processors
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
}


def tool(name: str) -> str:
    """A command of this environment: beside this interpreter, else on the path."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else name


def free_port() -> int:
    """A free TCP port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
