"""Memory, descriptors, processes, databases and logs of a federation, as the kernel counts them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.soak.federation import DISKS, Federation, Part, cgroup


def sample(federation: Federation) -> dict[str, Any]:
    """All numbers of this moment."""
    parts = {name: of_part(part) for name, part in federation.look().items() if part.running}
    superlink = federation.disk("superlink").glob("superlink.db*")
    return {
        "parts": parts,
        "superlink_db": sum(_size(file) for file in superlink),
        "disks": {name: _used(federation.disk(name)) for name in DISKS},
    }


def of_part(part: Part) -> dict[str, Any]:
    """Anonymous memory, open descriptors, processes, zombies and log of a container."""
    folder = cgroup(part)
    pids = _pids(folder)
    return {
        "started": part.started,
        "health": part.health,
        "restarts": part.restarts,
        "memory": _anonymous(folder),
        "descriptors": sum(_descriptors(pid) for pid in pids),
        "processes": len(pids),
        "zombies": sum(_state(pid) == "Z" for pid in pids),
        "log": _size(Path(part.log)),
    }


def _pids(folder: Path | None) -> list[int]:
    try:
        return [int(word) for word in (folder / "cgroup.procs").read_text().split()] if folder else []
    except OSError:
        return []


def _anonymous(folder: Path | None) -> int:
    """Bytes that are no file's cache."""
    try:
        lines = (
            dict(line.split() for line in (folder / "memory.stat").read_text().splitlines()) if folder else {}
        )
    except OSError:
        return 0
    return int(lines.get("total_rss", lines.get("anon", 0)))


def _descriptors(pid: int) -> int:
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return 0


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _used(folder: Path) -> int:
    """Bytes in the files of a disk, the filler aside."""
    return sum(_size(file) for file in folder.rglob("*") if file.name != "filler" and not file.is_symlink())
