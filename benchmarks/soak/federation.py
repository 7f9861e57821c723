"""The parts of a compose federation, as the host sees them, and what can be done to them from there."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

NODES = (1, 2, 3)
PARTS = (
    *("superlink", "proxy", "serverapp"),
    *(f"{kind}-{node}" for node in NODES for kind in ("supernode", "clientapp")),
)
CGROUPS = Path("/sys/fs/cgroup")
DISKS = {"runs": "runs", "superlink": "superlink-state", "clientapp-1": "node-1-apps"}
"""The disks that can be filled, and the volumes on them."""


@dataclass(frozen=True)
class Part:
    """A container as the engine describes it."""

    name: str
    id: str
    pid: int
    started: str
    running: bool
    health: str
    restarts: int
    log: str


@dataclass(frozen=True)
class Federation:
    """Words for a project of compose whose disks and clocks lie in `work`."""

    project: str
    work: Path
    compose: tuple[str, ...]

    def docker(self, *words: str, seconds: float = 90.0) -> subprocess.CompletedProcess[str]:
        """Call the engine; a fault may take away what it asks for, so nothing is raised for its failure."""
        return subprocess.run(
            ["docker", *words], capture_output=True, text=True, timeout=seconds, check=False
        )

    def look(self) -> dict[str, Part]:
        """All parts as they are now."""
        label = f"label=com.docker.compose.project={self.project}"
        ids = self.docker("ps", "-aq", "--no-trunc", "--filter", label).stdout.split()
        found = {}
        for one in json.loads(self.docker("inspect", *ids).stdout or "[]"):
            name = one["Config"]["Labels"]["com.docker.compose.service"]
            if name in PARTS:
                state = one["State"]
                found[name] = Part(
                    name=name,
                    id=one["Id"],
                    pid=state["Pid"],
                    started=state["StartedAt"],
                    running=state["Running"],
                    health=state.get("Health", {}).get("Status", "none"),
                    restarts=one["RestartCount"],
                    log=one["LogPath"],
                )
        return found

    def part(self, name: str) -> Part:
        """One part as it is now."""
        return self.look()[name]

    def in_network_of(self, name: str, *words: str) -> str:
        """Run a command of the host in a container's network; returns what it said against it."""
        pid = self.part(name).pid
        if not pid:
            return "not running"
        command = ["nsenter", "--target", str(pid), "--net", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        return done.stderr.strip()

    def interfaces(self, name: str) -> list[str]:
        """The interfaces of a container but for loopback."""
        pid = self.part(name).pid
        if not pid:
            return []
        lines = Path(f"/proc/{pid}/net/dev").read_text(encoding="utf-8").splitlines()[2:]
        return [name for line in lines if (name := line.split(":")[0].strip()) != "lo"]

    def clock(self, name: str) -> Path:
        """The file that says by how much a part's clock is wrong."""
        return self.work / "clock" / name / "now"

    def disk(self, name: str) -> Path:
        """Where a disk that can be filled is mounted."""
        return self.work / "disks" / name

    @property
    def runs(self) -> Path:
        """The folder of the run folders."""
        return self.disk("runs") / "runs"


def cgroup(part: Part) -> Path | None:
    """The folder of a container's memory control group, of version 1 or 2."""
    try:
        lines = Path(f"/proc/{part.pid}/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return CGROUPS / "memory" / path.lstrip("/")
    return next(
        (CGROUPS / line.split(":", 2)[2].lstrip("/") for line in lines if line.startswith("0::")), None
    )


def processes(part: Part) -> list[int]:
    """The processes of a container but for its first, which only waits for the others, and health checks."""
    folder = cgroup(part)
    if not part.pid or folder is None:
        return []
    try:
        found = [int(word) for word in (folder / "cgroup.procs").read_text(encoding="utf-8").split()]
    except OSError:
        return []
    return [pid for pid in found if pid != part.pid and b"cli.probes" not in words_of(pid)]


def words_of(pid: int) -> bytes:
    """The command line of a process; empty if it is gone, or a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def born(pid: int) -> str:
    """When a process began, in ticks: with its number it names the process; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except OSError:
        return ""


def fill(folder: Path) -> None:
    """Leave no byte free on the disk of `folder`."""
    size = 1 << 26
    with (folder / "filler").open("ab") as file:
        while size >= 1 << 10:
            end = file.seek(0, os.SEEK_END)
            try:
                os.posix_fallocate(file.fileno(), end, size)
            except OSError:
                size //= 2


def overlay(work: Path) -> str:
    """What compose must add: volumes on disks of a limited size, and clocks that can be stepped."""
    lines = ["services:"]
    for name in PARTS:
        if name == "proxy":  # nginx; its clock decides nothing
            continue
        lines += [
            f"  {name}:",
            f"    volumes: ['{work / 'clock' / name}:/clock:ro']",
            "    environment:",
            "      LD_PRELOAD: /clock/clock.so",
            "      CLOCK_FILE: /clock/now",
        ]
    lines.append("volumes:")
    for name, volume in DISKS.items():
        options = f"{{type: none, o: bind, device: '{work / 'disks' / name}'}}"
        lines.append(f"  {volume}: {{driver: local, driver_opts: {options}}}")
    return "\n".join(lines) + "\n"
