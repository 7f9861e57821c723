"""Commands and servers as a person starts them, in an environment that is the test's own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from cli.processes import tool

PATIENCE_SECONDS = 5.0  # Flower's processes look for a SuperLink that is gone for as long as they are let


def run_command(
    *arguments: str | Path,
    home: Path,
    cwd: Path,
    seconds: float = 240,
    variables: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command of this environment to its end; what it printed is in `stdout`."""
    return subprocess.run(
        [tool(str(arguments[0])), *map(str, arguments[1:])],
        cwd=cwd,
        env={**environment(home), **(variables or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )


def environment(home: Path) -> dict[str, str]:
    """This environment with its own homes and its own commands first."""
    return {
        **os.environ,
        "MURMUR_HOME": str(home),
        "FLWR_HOME": str(home / "flwr"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }


@contextmanager
def server(
    *arguments: str | Path, home: Path, log: Path, variables: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A server in an empty folder of its own; it ends with the block, and all that it started."""
    empty = log.parent / f"{log.stem}-folder"
    empty.mkdir()
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [tool(str(arguments[0])), *map(str, arguments[1:])],
            cwd=empty,
            env={**environment(home), **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            with suppress(ProcessLookupError):  # Flower's processes may outlive the one that started them
                os.killpg(process.pid, signal.SIGKILL)


def wait_until(true: Callable[[], object], *, seconds: float, what: str | Callable[[], str]) -> None:
    """Poll until `true()` is so; `what` was waited for, in words, or says what there is instead.

    What is waited for needs the processors: a look that takes long is seldom taken.
    """
    began = time.monotonic()
    deadline = began + seconds
    while not true():
        looked = time.monotonic()
        if looked > deadline:
            raise TimeoutError(f"{what if isinstance(what, str) else what()}: not within {seconds} s")
        time.sleep(min(2.0, max(0.3, 4 * (looked - began))))
        began = time.monotonic()


def kill_all_of(home: Path) -> None:
    """SIGKILL every process that was started in the `environment` of this home, Ray's daemons as well."""
    while found := started_with(MURMUR_HOME=home):
        for number in found:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        time.sleep(0.2)


def started_with(**variable: str | Path) -> list[int]:
    """The processes that have this one variable in the environment that they were started with."""
    ((name, value),) = variable.items()
    mark = f"{name}={value}\0".encode()
    return [number for number in all_processes() if mark in _read(number, "environ")]


def all_processes() -> list[int]:
    """The numbers of all processes of this machine."""
    return [int(process.name) for process in Path("/proc").glob("[0-9]*")]


def title(number: int) -> str:
    """A process' command line, or what it calls itself by now; empty if it has ended."""
    return _read(number, "cmdline").decode(errors="replace").rstrip("\0 ")


def parent(number: int) -> int:
    """The number of the process that made this one; 0 if it has ended."""
    fields = _read(number, "stat").rpartition(b")")[2].split()
    return int(fields[1]) if fields else 0


def _read(number: int, file: str) -> bytes:
    try:
        return Path(f"/proc/{number}/{file}").read_bytes()
    except OSError:  # it has ended, or is another user's
        return b""
