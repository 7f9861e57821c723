"""A Ray cluster of several nodes on this host, each a `ray start` with processes of its own."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from cli.processes import free_port, tool
from tests.processes import all_processes, parent, server, title, wait_until

NODE = ("--object-store-memory", "100000000", "--disable-usage-stats", "--block")
WORKER = "ray::WorkerActor"


@dataclass(frozen=True)
class RayCluster:
    """Where the head answers, and each node's process group, the head's first."""

    address: str
    groups: tuple[int, ...]

    def busy(self, node: int) -> list[int]:
        """Process numbers of a node's simulated workers that are at a task.

        Their processes of speakers, made while they were at one, bear that title for ever.
        """
        return [
            pid
            for pid in all_processes()
            if title(pid) == f"{WORKER}.answer" and self._on(pid, node) and WORKER not in title(parent(pid))
        ]

    def stop_a_busy_worker(self, node: int) -> list[int]:
        """Its process number, or none; it will not finish what it is at."""
        for pid in self.busy(node):
            os.kill(pid, signal.SIGSTOP)
            if title(pid) == f"{WORKER}.answer":
                return [pid]
            os.kill(pid, signal.SIGCONT)
        return []

    def kill_node(self, node: int) -> None:
        """SIGKILL a node and all its workers, as in a power cut."""
        os.killpg(self.groups[node], signal.SIGKILL)

    def _on(self, pid: int, node: int) -> bool:
        try:
            return os.getpgid(pid) == self.groups[node]
        except ProcessLookupError:
            return False


@contextmanager
def ray_cluster(
    nodes: int, *, home: Path, logs: Path, cpus: int = 1, cores: Sequence[str] = ()
) -> Iterator[RayCluster]:
    """So many nodes with `cpus` CPUs each; they end with the block, and all that they started.

    `cores` has the processors of each node, as `taskset --cpu-list` takes them; without it they have all.
    """
    port = str(free_port())
    address = f"127.0.0.1:{port}"
    with ExitStack() as stack:
        # The names of Ray's sockets, below this folder, may have 107 characters: pytest's is too deep.
        folder = stack.enter_context(TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True))
        head = ("--head", "--port", port, "--ray-client-server-port", str(free_port()), "--temp-dir", folder)

        def start(number: int, *options: str) -> int:
            name = f"ray-node-{number}"
            log = logs / f"{name}.log"
            command = (tool("ray"), "start", *options, "--num-cpus", str(cpus), *NODE)
            if cores:
                command = ("taskset", "--cpu-list", cores[number], *command)
            node = stack.enter_context(server(*command, home=home, log=log))
            wait_until(lambda: "Ray runtime started" in log.read_text(), seconds=90, what=f"the {name}")
            return node.pid

        groups = [start(0, *head, "--include-dashboard=false")]
        groups += [start(number, "--address", address) for number in range(1, nodes)]
        yield RayCluster(address, tuple(groups))
