"""Small questions to a deployment's parts, without torch: is it healthy, is its certificate good?

`python -m cli.probes 127.0.0.1:8099` asks grpcio's health protocol and is the health check of a
container. A SuperNode can become a zombie: alive, its health port silent, never to reconnect. Docker
marks such a container unhealthy and leaves it; with `--end-after N`, the N-th failed check in a row
ends the container's processes, and its restart policy does the rest.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import ssl
import sys
import tempfile
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

SECONDS = 4.0
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

    Raises
    ------
    OSError
        If there is no connection (`ssl.SSLError` is one, if it is not to be trusted).
    """
    context = ssl.create_default_context(cafile=str(authority))
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection((host, port), timeout=seconds) as plain,
        context.wrap_socket(plain, server_hostname=host) as secured,
    ):
        return secured.getpeercert(binary_form=True) or b""


def main() -> int:
    """The container health check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("--end-after", type=int, default=0)
    arguments = parser.parse_args()
    fault = health(arguments.address)
    if not fault:
        FAILURES.unlink(missing_ok=True)
        return 0
    failures = (int(FAILURES.read_text() or 0) if FAILURES.exists() else 0) + 1
    print(f"not healthy ({failures} in a row): {fault}", file=sys.stderr)
    FAILURES.write_text(str(failures))
    if failures == arguments.end_after:
        FAILURES.unlink()
        os.kill(-1, signal.SIGKILL)  # all that this user may end, but not process 1 and not this one
    return 1


if __name__ == "__main__":
    sys.exit(main())
