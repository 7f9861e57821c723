"""A federation of real processes on loopback, without TLS: a SuperLink and SuperNodes.

They talk gRPC, or HTTP with a later Flower than the pinned one (`.ci/newest-flower`).
"""

import json
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from subprocess import CompletedProcess, Popen

import grpc
from packaging.version import Version

from cli.composing import staged_app
from cli.processes import free_port
from tests.corpora import make_corpus
from tests.flower_commands import FlowerCommands
from tests.processes import run_command, server, wait_until

SPEAKS_GRPC = Version(version("flwr")) < Version("1.40")
SERVER_PROCESS = "flwr-serverapp"


@dataclass(frozen=True)
class Loopback:
    """Where the processes find each other, the home folder they share, and their logs' folder."""

    folder: Path
    runtime: int
    fleet: int

    @property
    def one_port(self) -> bool:
        """Whether the SuperLink has one port, HTTP, for nodes and commands (Flower 1.40 and later)."""
        return self.fleet == self.runtime

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def run_folder(self) -> Path:
        return self.home / "runs" / "latest"

    @contextmanager
    def superlink(self, name: str, *options: str | Path) -> Iterator[Popen[bytes]]:
        """A SuperLink that already answers its nodes; its log is `name`.log."""
        fleet = () if self.one_port else ("--fleet-api-address", f"127.0.0.1:{self.fleet}")
        started = server(
            "flower-superlink", "--insecure", "--host", "127.0.0.1", "--port", self.runtime, *fleet, *options,
            home=self.home, log=self.folder / f"{name}.log",
        )  # fmt: skip
        answers = accepts if self.one_port else speaks_grpc
        with started as process:
            wait_until(lambda: answers(self.fleet), seconds=60, what="the SuperLink's port for nodes")
            try:
                yield process
            finally:
                self.commands.close()

    def supernode(self, name: str, corpus: Path, **variables: str) -> AbstractContextManager[Popen[bytes]]:
        """A SuperNode beside its speech; its ClientApps run in processes of its own."""
        return server(
            "flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{self.fleet}",
            "--port", free_port(), "--node-config", f'corpus-path="{corpus}" limits="none"',
            home=self.home, log=self.folder / f"{name}.log", variables=variables,
        )  # fmt: skip

    def isolated_supernode(
        self, name: str, corpus: Path, port: int, secret: Path, policy: str = 'limits="none"'
    ) -> AbstractContextManager[Popen[bytes]]:
        """A SuperNode in process isolation: whoever has the secret runs its ClientApps, at `port`."""
        return server(
            "flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{self.fleet}",
            "--isolation", "process", "--superexec-auth-secret-file", secret, "--host", "127.0.0.1",
            "--port", port, "--node-config", f'corpus-kind="manifest" corpus-path="{corpus}" {policy}',
            home=self.home, log=self.folder / f"{name}.log",
        )  # fmt: skip

    @cached_property
    def commands(self) -> FlowerCommands:
        """For what is asked again and again."""
        return FlowerCommands(self.home)

    def online(self) -> int:
        """How many SuperNodes are connected."""
        return self.commands.online()

    def flwr(self, *words: str | Path) -> CompletedProcess[str]:
        """A `flwr` command to its end."""
        return run_command("flwr", *words, home=self.home, cwd=self.folder)

    def submit(self, config: str) -> str:
        """Submit a run and come back at once; returns its number."""
        app = staged_app(self.folder / "app")
        answer = self.flwr("run", app, "--run-config", config, "--format", "json").stdout
        return str(json.loads(answer[answer.index("{") :])["run-id"])

    def status(self, run_id: str) -> str:
        return self.commands.status(run_id)

    def metrics(self) -> list[dict]:
        """The lines of the newest run, so far."""
        file = self.run_folder / "metrics.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def answered(self) -> list[tuple[int, int]]:
        """How many nodes were asked and how many answered, by round."""
        return rounds_answered(self.run_folder)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")


def rounds_answered(run_folder: Path) -> list[tuple[int, int]]:
    """Of each round how many nodes were asked and how many answered, from the server's own file."""
    lines = map(json.loads, (run_folder / "traffic.jsonl").read_text().splitlines())
    return [(line["nodes_asked"], line["nodes_answered"]) for line in lines if "drawn" in line]


def loopback(folder: Path) -> Loopback:
    """Ports and folders for a federation of which nothing runs yet."""
    port = free_port()
    made = Loopback(folder, port, free_port() if SPEAKS_GRPC else port)
    (made.home / "flwr").mkdir(parents=True)
    (made.home / "flwr" / "config.toml").write_text(
        f'[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = "127.0.0.1:{made.runtime}"\n'
        "insecure = true\n"
    )
    return made


@contextmanager
def nodes(made: Loopback, *speakers: int) -> Iterator[None]:
    """SuperNodes that hold so many speakers each."""
    with ExitStack() as stack:
        for index, count in enumerate(speakers):
            corpus = make_corpus(made.folder / f"node{index}", {"train": count})
            stack.enter_context(made.supernode(f"supernode{index}", corpus))
        yield


def accepts(port: int) -> bool:
    with suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def speaks_grpc(port: int) -> bool:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=1)
        except grpc.FutureTimeoutError:
            return False
    return True


def serverapp_of(home: Path) -> list[int]:
    """Numbers of the ServerApp processes that work in this home folder."""
    mark = f"FLWR_HOME={home / 'flwr'}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            ours = mark in (process / "environ").read_bytes().split(b"\0")
            if ours and SERVER_PROCESS.encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue  # it has ended meanwhile
    return found
