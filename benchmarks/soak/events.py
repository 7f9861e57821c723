"""The log of a soak: one JSON object a line, each on the disk as soon as it is known."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any


class Events:
    """Appends events, by any thread; `t` is in seconds since the soak began."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._began = time.monotonic()

    def now(self) -> float:
        """Seconds since the soak began, by a clock that nobody steps."""
        return time.monotonic() - self._began

    def add(self, what: str, **fields: Any) -> None:
        """Write an event down."""
        moment = {"t": round(self.now(), 1), "utc": time.strftime("%H:%M:%S", time.gmtime()), "what": what}
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**moment, **fields}, default=str) + "\n")
        if what not in ("sample", "round"):
            print(json.dumps({**moment, **fields}, default=str)[:400], flush=True)


def read_events(path: Path) -> list[dict[str, Any]]:
    """All events of a log."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def every(seconds: float, work: Callable[[], None], stop: Event, events: Events) -> Thread:
    """Call `work` again and again in a thread until `stop`; what it raises is an event, and no end."""

    def repeat() -> None:
        while not stop.is_set():
            try:
                work()
            except Exception as error:
                events.add("harness error", of=getattr(work, "__qualname__", ""), error=repr(error))
            stop.wait(seconds)

    thread = Thread(target=repeat, daemon=True)
    thread.start()
    return thread
