"""A private Flower SuperLink for one simulated run: started in an empty folder, ended with the run.

The SuperLink that `flwr run` starts by itself outlives the run, keeps the environment and working
directory of whoever started it first, and lets Ray's workers import code from there. This one does
none of that.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

START_SECONDS = 60.0
STOP_SECONDS = 20.0
CONNECTION = "murmur"
RAY_ADDRESS = "RAY_ADDRESS"  # the variable in which Flower's engine, by `ray.init`, looks for a cluster
OWN_RAY = "local"  # Ray's name for one that is started for the run and ends with it

QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_prestart_worker_first_driver": "0",  # our workers have an environment of their own: not these
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
}


class SuperLinkError(RuntimeError):
    """Flower's own processes did not do what they should; the message holds their words."""


@dataclass(frozen=True)
class SuperLink:
    """A running SuperLink and the environment in which `flwr` commands find it."""

    folder: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes]
    port: int

    @property
    def log(self) -> Path:
        """What its processes say."""
        return self.folder / "superlink.log"

    def wait_until_healthy(self) -> None:
        """Wait until it answers, which takes seconds from its start.

        Raises
        ------
        SuperLinkError
            If it ends, or does not answer in time.
        """
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                with urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2):
                    return
            except (URLError, OSError):
                time.sleep(0.1)
        raise SuperLinkError(
            f"flower-superlink did not come up on port {self.port}:\n{self.log.read_text(encoding='utf-8')}"
        )

    def flwr(self, *arguments: str) -> dict[str, object]:
        """Run a `flwr` command with JSON output and return that.

        Raises
        ------
        SuperLinkError
            If it fails or prints no JSON.
        """
        done = subprocess.run(
            self.command(*arguments, "--format", "json"),
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        start = done.stdout.find("{")
        try:
            answer: dict[str, object] = json.loads(done.stdout[max(start, 0) :])
        except json.JSONDecodeError:
            answer = {"success": False}
        if done.returncode or not answer.get("success", False):
            raise SuperLinkError(f"`flwr {' '.join(arguments)}` failed:\n{done.stdout}{done.stderr}".strip())
        return answer

    def command(self, *arguments: str) -> list[str]:
        """The command line of a `flwr` command on this SuperLink."""
        return [tool("flwr"), *arguments]


@contextmanager
def local_superlink(ray_address: str) -> Iterator[SuperLink]:
    """A SuperLink with the simulation runtime on this Ray, on a free port of the loopback interface.

    It is still coming up: `SuperLink.wait_until_healthy` says when it is there.
    """
    folder = Path(tempfile.mkdtemp(prefix="murmur-"))
    port = free_port()
    # Flower starts its helpers by name: they must be this environment's, activated or not.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    own = {"FLWR_HOME": str(folder / "flwr"), "PATH": path, RAY_ADDRESS: ray_address}
    environment = {**os.environ, **QUIET, **own}
    (folder / "flwr").mkdir()
    (folder / "empty").mkdir()
    (folder / "flwr" / "config.toml").write_text(
        f'[superlink]\ndefault = "{CONNECTION}"\n\n'
        f'[superlink.{CONNECTION}]\naddress = "127.0.0.1:{port}"\ninsecure = true\n',
        encoding="utf-8",
    )
    with (folder / "superlink.log").open("w", encoding="utf-8") as sink:
        process = subprocess.Popen(
            [
                tool("flower-superlink"),
                "--insecure",
                "--simulation",
                *("--host", "127.0.0.1", "--port", str(port)),
            ],
            env=environment,
            cwd=folder / "empty",
            stdout=sink,
            stderr=sink,
            stdin=subprocess.DEVNULL,
        )
    try:
        with _interrupted_by_every_signal():
            yield SuperLink(folder, environment, process, port)
    finally:
        _end(process)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _interrupted_by_every_signal() -> Iterator[None]:
    """SIGTERM, and a terminal that closes, are as Ctrl-C is: what was started here ends too."""
    before = {one: signal.signal(one, signal.default_int_handler) for one in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def tool(name: str) -> str:
    """A command of this environment: beside this interpreter, else on the path."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else name


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
