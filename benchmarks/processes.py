"""A process and all that it started: their processor time, and their end. Linux only."""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")
# Of the fields of /proc/PID/stat after the name (man 5 proc): the parent, and user and system time of the
# process itself and of those of its children that have ended.
_PARENT, _TIMES, _TIMES_OF_ENDED = 1, slice(11, 15), slice(13, 15)


def processor_seconds(root: int) -> float:
    """Seconds of processor time that `root` and its descendants have taken so far, in steps of 10 ms."""
    stats = _stats()
    return sum(sum(map(int, stats[pid][_TIMES])) for pid in _tree(root, stats)) / _TICKS


def processor_seconds_by(root: int, part_of: Callable[[str], str]) -> dict[str, float]:
    """As `processor_seconds`, for each part; `part_of` gives that of a command line."""
    stats, found = _stats(), defaultdict(float)
    for pid in _tree(root, stats):
        try:
            command = _command(pid)
        except OSError:  # it has ended since
            continue
        found[part_of(command)] += sum(map(int, stats[pid][_TIMES])) / _TICKS
    return dict(found)


class Thread(NamedTuple):
    """A thread by its names now: a process may change them.

    Attributes:
        name: Its own.
        command: The command line of its process.
        parent: That of the process's parent.
        first: Whether it is the one that its process began with.
        seconds: Of a processor, so far; the first has those of its process's ended children as well.
    """

    name: str
    command: str
    parent: str
    first: bool
    seconds: float


def threads(root: int) -> dict[int, Thread]:
    """Every thread of `root` and its descendants, by its number."""
    stats, found = _stats(), {}
    for pid in _tree(root, stats):
        for place in Path(f"/proc/{pid}/task").glob("*"):
            try:
                name = (place / "comm").read_text(encoding="utf-8").strip()
                command, parent = _command(pid), _command(int(stats[pid][_PARENT]))
                nanoseconds = (place / "schedstat").read_text(encoding="utf-8").split()[0]
            except OSError:  # it has ended since
                continue
            number, seconds = int(place.name), int(nanoseconds) * 1e-9
            if number == pid:
                seconds += sum(map(int, stats[pid][_TIMES_OF_ENDED])) / _TICKS
            found[number] = Thread(name, command, parent, number == pid, seconds)
    return found


def end(root: int) -> None:
    """End `root` and its descendants, at once."""
    for pid in reversed(_tree(root, _stats())):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def _stats() -> dict[int, list[str]]:
    stats = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            stats[int(entry.parent.name)] = entry.read_text(encoding="utf-8").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # it has ended since
            continue
    return stats


def _tree(root: int, stats: dict[int, list[str]]) -> list[int]:
    """`root` and its descendants, parents first; empty if it is gone."""
    children = defaultdict(list)
    for pid, fields in stats.items():
        children[int(fields[_PARENT])].append(pid)
    found = [root] if root in stats else []
    for pid in found:
        found += children[pid]
    return found
