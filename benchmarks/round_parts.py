"""Where the processor time of a simulated round goes: `python -m benchmarks.round_parts`.

The pages `simulation` and `many_nodes` say how much longer than a bare loop a round takes. This says which
processes take it, for three ways in which nodes can hold speakers.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import many_nodes, simulation
from benchmarks.processes import Thread, threads
from benchmarks.report import conditions, table, write
from benchmarks.simulation import COHORT, NODES, PROCESSES, WARM_UP, finished_rounds, measure

SERVER = "cli.run.simulation_process"
RAYLET = "raylet/raylet"  # its command line has that of workers in it
TRAINING = "training, in the speaker processes"
NODES_WORK = "the nodes' own: tasks, orders to those processes, clipping, adding, packing"
SERVERS_WORK = "the server's: drawing, sending, unpacking, release, files"
RAY = "Ray's: its own processes, and its threads in ours"
ELSE = "else (the synthesis of speech)"
PARTS = (TRAINING, NODES_WORK, SERVERS_WORK, RAY, ELSE)
ROUNDS = {"few": simulation.ROUNDS, "many": 6}  # a run's, of which the first two and the last do not count


def part_of(thread: Thread) -> str:
    """Whose work a thread of a run does, by the names of its process and of its own."""
    if _is_worker(thread.command) and _is_worker(thread.parent):
        return TRAINING  # a worker's fork
    if _is_worker(thread.command):
        return NODES_WORK if thread.first else RAY
    if SERVER in thread.command:
        return SERVERS_WORK if thread.name.startswith("python") else RAY
    return RAY if "/ray/" in thread.command or thread.command.startswith("ray::") else ELSE


def _is_worker(command: str) -> bool:
    """Whether it is a worker's process, which Ray names at its first task, and not one of Ray's agents."""
    named = command.startswith("ray::") and "Agent" not in command
    return named or ("default_worker.py" in command and RAYLET not in command)


def bare_part_of(thread: Thread) -> str:
    """The same for the bare loop."""
    return ELSE if "espeak" in thread.command else TRAINING


@dataclass
class Parts:
    """Processor seconds of the measured rounds, by part; `note` is called after each round."""

    part_of: Callable[[Thread], str]
    first: int
    last: int
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _before: Mapping[int, Thread] = field(default_factory=dict)

    def note(self, number: int, pid: int) -> None:
        """Count from the end of round `first` to the end of round `last`."""
        if number not in (self.first, self.last):
            return
        now = threads(pid)
        if number == self.last:
            for one, thread in now.items():
                before = self._before[one].seconds if one in self._before else 0.0
                self.seconds[self.part_of(thread)] += thread.seconds - before
        self._before = now


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Milliseconds for each client update: of the clock, and of the processors by part."""

    clock: float
    by_part: Mapping[str, float]

    @classmethod
    def of(cls, command: Sequence[str], log: Path, rounds: int, part_of: Callable[[Thread], str]) -> Measured:
        """Run `command`, whose rounds are written to `log`; the last evaluates, and does not count."""
        parts = Parts(part_of, WARM_UP, rounds - 1)
        timing = measure(command, log, rounds, parts.note)
        updates = sum(line["drawn"] for line in finished_rounds(log)[WARM_UP : rounds - 1])
        by_part = {part: 1000 * seconds / updates for part, seconds in parts.seconds.items()}
        return cls(clock=1000 * timing.wall / COHORT, by_part=by_part)

    @classmethod
    def mean(cls, one: Measured, other: Measured) -> Measured:
        """The mean of two."""
        parts = one.by_part.keys() | other.by_part.keys()
        return cls(
            clock=(one.clock + other.clock) / 2,
            by_part={part: (one.by_part.get(part, 0) + other.by_part.get(part, 0)) / 2 for part in parts},
        )

    def row(self, part: str) -> str:
        """A part's milliseconds, as a cell."""
        return f"{self.by_part.get(part, 0.0):.2f}"


def few(party: str) -> Measured:
    """Rounds of `simulation`."""
    with tempfile.TemporaryDirectory() as place:
        command, log = simulation.parties(Path(place), ROUNDS["few"])[party]
        return Measured.of(command, log, ROUNDS["few"], part_of if party == "ours" else bare_part_of)


def many(hosts: int | None) -> Measured:
    """Rounds of `many_nodes` in which so many hosts hold the nodes, 0 for none; without a number, bare."""
    with tempfile.TemporaryDirectory() as place:
        home, rounds = Path(place), ROUNDS["many"]
        if hosts is None:
            command, log = many_nodes.bare(home, many_nodes.COHORT, many_nodes.MOST, rounds)
            return Measured.of(command, log, rounds, bare_part_of)
        command, log = many_nodes.ours(home, many_nodes.MOST, many_nodes.COHORT, hosts, rounds)
        command += ["--set", f"run.folder={json.dumps(str(home / 'runs'))}"]
        return Measured.of(command, log, rounds, part_of)


WAYS: dict[str, tuple[Callable[[], Measured], Callable[[], Measured]]] = {
    f"{NODES} nodes of many speakers, {COHORT} drawn": (lambda: few("ours"), lambda: few("bare")),
    f"{many_nodes.MOST:,} nodes of one speaker, {many_nodes.COHORT:,} drawn": (
        lambda: many(0),
        lambda: many(None),
    ),
    f"the same on {many_nodes.HOSTS} hosts": (lambda: many(many_nodes.HOSTS), lambda: many(None)),
}


def page(found: Mapping[str, tuple[Measured, Measured]], load: float, seconds: float) -> str:
    """The text: a table for each way."""
    parts = [
        "# Where the processor time of a round goes",
        f"{conditions()}\n- load of the machine in the minute before it began: {load:.1f}",
        f"Milliseconds for each client update: of the clock, and of the {PROCESSES} processors together. The "
        f"first {WARM_UP} rounds of a run do not count, nor does its last, which evaluates. The bare loop's "
        "are the means of a run just before ours and one just after it.",
    ]
    for name, (ours, bare) in found.items():
        rows = [(name, "ours", "the bare loop"), ("of the clock", f"{ours.clock:.2f}", f"{bare.clock:.2f}")]
        rows += [(f"of the processors: {part}", ours.row(part), bare.row(part)) for part in PARTS]
        more = sum(ours.by_part.values()) / sum(bare.by_part.values())
        idle = 1 - sum(ours.by_part.values()) / (PROCESSES * ours.clock)
        parts.append(table(rows))
        parts.append(
            f"The clock's ratio is {ours.clock / bare.clock:.2f}, the processors' {more:.2f}; of the clock's "
            f"time the processors are idle for {100 * max(0.0, idle):.0f} %."
        )
    parts.append(
        f"All runs together took {seconds:.0f} s. `python -m benchmarks.round_parts` makes this page."
    )
    return "\n\n".join(parts)


def main() -> None:
    """Measure each way beside its bare loop, and write the page."""
    load, began = os.getloadavg()[0], time.monotonic()
    found = {}
    for name, (ours, bare) in WAYS.items():
        before, measured, after = bare(), ours(), bare()
        found[name] = measured, Measured.mean(before, after)
        print(name, *found[name], flush=True)
    write(Path(__file__).with_suffix(".md"), page(found, load, time.monotonic() - began))


if __name__ == "__main__":
    main()
