"""Small questions to a deployment's parts, without torch: is it healthy, is its certificate good?

`python -m cli.deploy.probes 127.0.0.1:8099` asks grpcio's health protocol and is the health check of a
container. A SuperNode can become a zombie: alive, its health port silent, never to reconnect. Docker
marks such a container unhealthy and leaves it; with `--end-after N`, the N-th failed check in a row
ends the container's processes, and its restart policy does the rest. Where systemd restarts the parts,
`--tries N` asks again until one of N checks is answered (docs/systemd/watch.sh).
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import ssl
import sys
import tempfile
import time
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

SECONDS = 4.0
PAUSE_SECONDS = 15.0
FAILURES = Path(tempfile.gettempdir()) / "failed-health-checks"


def health(address: str, seconds: float = SECONDS) -> str:
    """Empty if the part at `address` says that it serves, else what it did instead."""
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=seconds
            )
        except grpc.RpcError as error:
            return str(error.code().name) if isinstance(error, grpc.Call) else str(error)
    serving = answer.status == health_pb2.HealthCheckResponse.SERVING
    return "" if serving else health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def certificate(host: str, port: int, authority: Path, seconds: float = SECONDS) -> bytes:
    """The DER certificate of a TLS server, checked against `authority` and its name.

    Raises:
        OSError: If there is no connection (`ssl.SSLError` is one, if it is not to be trusted).
    """
    context = ssl.create_default_context(cafile=str(authority))
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection((host, port), timeout=seconds) as plain,
        context.wrap_socket(plain, server_hostname=host) as secured,
    ):
        return secured.getpeercert(binary_form=True) or b""


def main() -> int:
    """The health check of a container, or of a service."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("--end-after", type=int, default=0)
    parser.add_argument("--tries", type=int, default=1)
    arguments = parser.parse_args()
    fault = health(arguments.address)
    for _ in range(arguments.tries - 1):
        if fault:
            time.sleep(PAUSE_SECONDS)
            fault = health(arguments.address)
    if fault:
        print(f"not healthy: {fault}", file=sys.stderr)
    if arguments.end_after:
        _count(bool(fault), arguments.end_after)
    return int(bool(fault))


def _count(failed: bool, most: int) -> None:
    """Count failed checks in a row; at the `most`-th, end every process of this container."""
    if not failed:
        FAILURES.unlink(missing_ok=True)
        return
    failures = (int(FAILURES.read_text() or 0) if FAILURES.exists() else 0) + 1
    FAILURES.write_text(str(failures))
    if failures == most:
        FAILURES.unlink()
        os.kill(-1, signal.SIGKILL)  # all that this user may end, but not process 1 and not this one


if __name__ == "__main__":
    sys.exit(main())
