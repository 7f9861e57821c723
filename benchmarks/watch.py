"""Watching the processes of a federation from outside: when they live and how much memory they take."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Watch:
    """What the host tells about the processes of a federation, asked again and again."""

    home: str
    parts: tuple[str, ...]  # of command lines: what to call the processes
    peaks: dict[tuple[str, int], int] = field(default_factory=dict)  # (part, pid) -> bytes
    seen: dict[int, list[float]] = field(default_factory=dict)  # a ClientApp's pid -> first and last time
    rounds: list[float] = field(default_factory=list)  # when a line appeared in metrics.jsonl

    def look(self) -> None:
        """Read every process of ours, and count the lines of the run."""
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
                if self.home.encode() not in (folder / "environ").read_bytes():
                    continue
                status = (folder / "status").read_text()
            except OSError:
                continue
            part = next((part for part in self.parts if any(part.encode() in word for word in words)), None)
            peak = [line for line in status.splitlines() if line.startswith("VmHWM")]
            if part and peak:
                self._note(part, int(folder.name), int(peak[0].split()[1]) * 1024)
        metrics = Path(self.home, "runs", "latest", "metrics.jsonl")
        if metrics.exists():
            lines = metrics.read_text().count("\n")
            self.rounds += [time.monotonic()] * (lines - len(self.rounds))

    def _note(self, part: str, pid: int, peak: int) -> None:
        self.peaks[part, pid] = max(peak, self.peaks.get((part, pid), 0))
        if part == "flwr-clientapp":
            now = time.monotonic()
            self.seen.setdefault(pid, [now, now])[1] = now

    def peak(self, part: str) -> int:
        """The highest resident memory of any process of this part."""
        return max((size for (name, _), size in self.peaks.items() if name == part), default=0)

    def phases(self, number: int) -> tuple[float, float, float]:
        """Seconds of a round until a ClientApp starts, until the last one ends, until the round is over."""
        begin, end = self.rounds[number - 1], self.rounds[number]
        inside = [(first, last) for first, last in self.seen.values() if begin < last and first < end]
        first, last = min(first for first, _ in inside), max(last for _, last in inside)
        return first - begin, last - first, end - last


def every_half_second(look: Callable[[], None]) -> Callable[[], None]:
    """Call `look` in a thread of its own; returns what ends that."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            look()

    thread = threading.Thread(target=watch)
    thread.start()

    def stop() -> None:
        done.set()
        thread.join()

    return stop
