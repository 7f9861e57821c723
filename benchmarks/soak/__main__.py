"""Drive a federation through faults: `python -m benchmarks.soak PROJECT WORK SECONDS SEED COMPOSE..`

COMPOSE are the words with which docker/soak.sh calls compose. Ends with 1 if what must hold did not.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from threading import Event

from benchmarks.soak.checks import Watch, lost_replies
from benchmarks.soak.events import Events, every
from benchmarks.soak.faults import Fault, draw, set_clock
from benchmarks.soak.federation import PARTS, Federation
from benchmarks.soak.runs import Operator
from benchmarks.soak.samples import sample

LOOK_SECONDS, SAMPLE_SECONDS, VERIFY_SECONDS = 5.0, 10.0, 60.0
RECOVERY_SECONDS = 300.0  # a round must have ended by then
STUCK_SECONDS = 900.0  # then a person would have to come
LAST_SECONDS = 240.0  # for the last run to end, without faults
TWO_AT_ONCE = 0.15


@dataclass
class Soak:
    """The federation, its faults, and what is known of it."""

    federation: Federation
    events: Events
    watch: Watch
    random: Random
    number: int = 0

    def play(self) -> None:
        """A fault, sometimes two at once, and what comes of it."""
        faults = [draw(self.federation, self.random) for _ in range(1 + (self.random.random() < TWO_AT_ONCE))]
        self.number += 1
        begun = []
        for fault in faults:
            if self._attempt(fault.begin, fault):
                begun.append(fault)
                self.events.add("fault", number=self.number, **_told(fault))
        began = time.monotonic()
        for fault in sorted(begun, key=lambda one: one.hold_seconds):
            time.sleep(max(0.0, began + fault.hold_seconds - time.monotonic()))
            self._attempt(fault.end, fault)
            self.events.add("undone", number=self.number, family=fault.family)
        if begun:
            self._recover()

    def _attempt(self, work: Callable[[], None], fault: Fault) -> bool:
        try:
            work()
        except Exception as error:
            self.events.add("fault failed", number=self.number, error=repr(error), **_told(fault))
            return False
        return True

    def _recover(self) -> None:
        """Wait until all parts are healthy and a round has ended."""
        undone, healthy, late = self.events.now(), 0.0, False
        while not (healthy and self.watch.last_round > undone):
            time.sleep(1)
            waited = self.events.now() - undone
            parts = self.federation.look()
            ill = [name for name in PARTS if parts[name].health != "healthy"]
            if not ill and not healthy:
                healthy = waited
            if waited > RECOVERY_SECONDS and not late:
                late = True
                self._late(
                    f"no round within {RECOVERY_SECONDS:.0f} s after fault {self.number}; not healthy: {ill}"
                )
            if waited > STUCK_SECONDS:
                self.events.add(
                    "violation", of="stuck", said=f"fault {self.number}: all parts are started anew"
                )
                self.federation.docker("restart", *(part.id for part in parts.values()), seconds=300)
                return
        self.events.add(
            "recovered", number=self.number, healthy_seconds=round(healthy, 1), seconds=round(waited, 1)
        )

    def _late(self, said: str) -> None:
        self.events.add("violation", of="recovery", said=said)
        for name, part in self.federation.look().items():
            done = self.federation.docker("logs", "--tail", "60", part.id)
            file = self.federation.work / "logs" / f"late-{self.number:03d}-{name}.log"
            file.write_text(done.stdout + done.stderr, encoding="utf-8")


def _told(fault: Fault) -> dict[str, object]:
    return {"family": fault.family, "targets": fault.targets, "detail": fault.detail}


def main() -> int:
    """The whole soak."""
    project, work, seconds, seed, *compose = sys.argv[1:]
    federation = Federation(project, Path(work), tuple(compose))
    events = Events(federation.work / "events.jsonl")
    stop = Event()
    watch = Watch(federation.runs, events)
    operator = Operator(federation, events, stop)
    events.add("begin", seconds=float(seconds), seed=seed, commit=_commit())
    threads = [
        every(LOOK_SECONDS, watch.look, stop, events),
        every(SAMPLE_SECONDS, lambda: events.add("sample", **sample(federation)), stop, events),
        every(VERIFY_SECONDS, watch.verify, stop, events),
    ]
    runs = Event()
    operator.stop = runs
    every(5.0, operator.work, runs, events)
    soak = Soak(federation, events, watch, Random(int(seed)))
    while watch.released < 3:
        time.sleep(1)
    events.add("first rounds")
    while events.now() < float(seconds):
        time.sleep(soak.random.uniform(5, 45))
        soak.play()
    _end(federation, events, watch, operator, runs)
    stop.set()
    for thread in threads:
        thread.join()
    watch.look()
    watch.verify()
    rounds, lost, reasons = lost_replies(federation.runs)
    events.add("end", looks=watch.looks, recomputed=watch.recompute(), told=len(watch.told))
    events.add("replies", rounds=rounds, lost=lost, reasons=dict(reasons))
    return int(bool(watch.told))


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def _end(federation: Federation, events: Events, watch: Watch, operator: Operator, runs: Event) -> None:
    """No more faults; the run that goes on must end by itself."""
    for name in PARTS:
        if name != "proxy":
            set_clock(federation, name, 0)
    runs.set()
    events.add("no more faults", running=operator.busy)
    began = time.monotonic()
    while operator.busy and time.monotonic() - began < LAST_SECONDS:
        time.sleep(1)
    events.add("last run", ended=not operator.busy, seconds=round(time.monotonic() - began, 1))


if __name__ == "__main__":
    sys.exit(main())
