"""The seconds until a run's first training step, and where they go: `python -m benchmarks.start_up`.

The goal: at most 8 s on a quiet machine with two cores. Start is what `simulation` calls so: until the end of
the first round, less a round. Beside it is what each part of the run had of the processors by then, and what
each import costs in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks.processes import processor_seconds_by
from benchmarks.report import Ratio, conditions, table, write
from benchmarks.simulation import ENVIRONMENT, QUIET_LOAD, ROOT, WARM_UP, Timing, measure, parties

TURNS, MOST_SECONDS = 5, 8.0
COMMAND, SERVER, WORKERS, RAY = (
    "the command",
    "server and Flower's engine",
    "workers and their speaker processes",
    "Ray",
)
IMPORTS = {
    "python alone": "pass",
    "numpy": "import numpy",
    "torch": "import torch",
    "Ray": "import ray",
    "Flower's engine": "import flwr.simulation",
    "the command's check of the settings": "import cli.run.command, cli.run.settings",
    "the server, Flower's engine in it": "import flwr.simulation, server.entry",
    "a worker": "import ray, client.answers",
}


def part_of(command: str) -> str:
    """Which part of a run has this command line.

    A worker and the speaker process that it forks call themselves "ray::".
    """
    if command.startswith("ray::"):
        return WORKERS
    if "cli.run.simulation_process" in command:
        return SERVER
    return COMMAND if "cli.main" in command else RAY


def import_seconds(code: str) -> float:
    """Processor seconds of a process that runs `code`, the least of two."""
    seconds = []
    for _ in range(2):
        before = _of_children()
        subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, cwd=ROOT, check=True)
        seconds.append(_of_children() - before)
    return min(seconds)


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def page(
    turns: Sequence[tuple[Timing, Mapping[str, float]]], imports: Mapping[str, float], load: float
) -> tuple[str, list[Ratio]]:
    """The text, and what the table of all pages has."""
    start = median(timing.start for timing, _ in turns)
    ratio = Ratio(name="to the first training step, s", value=start, at_most=MOST_SECONDS)
    rows = [("part", "processor s until the first round's end")]
    rows += [(part, f"{median(of.get(part, 0.0) for _, of in turns):.1f}") for part in turns[0][1]]
    whole = median(sum(of.values()) for _, of in turns)
    rows.append(("all, with a round of training", f"{whole:.1f}"))
    starts = ", ".join(f"{timing.start:.1f}" for timing, _ in turns)
    busy = "" if load <= QUIET_LOAD else "; the seconds of the clock measure its other work too"
    said = [
        conditions(),
        f"- load of the machine in the minute before it began: {load:.1f}{busy}",
        f"- `murmur run` on the embedded corpus, 8 nodes and 2 workers; medians of {len(turns)} runs",
    ]
    parts = [
        "# The start of a run",
        "\n".join(said),
        f"From the command to the first training step: {start:.1f} s ({starts}; goal: {ratio.goal}; "
        f"{ratio.verdict}).",
        table(rows),
        f"A round of training is {median(timing.processor for timing, _ in turns):.1f} processor s of it.",
        table([("imports", "processor s"), *((name, f"{seconds:.2f}") for name, seconds in imports.items())]),
    ]
    return "\n\n".join(parts), [ratio]


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=TURNS)
    given = parser.parse_args()
    load, turns = os.getloadavg()[0], []
    for _ in range(given.turns):
        by_part: dict[str, float] = {}
        with tempfile.TemporaryDirectory() as place:
            command, log = parties(Path(place), WARM_UP + 2)["ours"]

            def note(number: int, pid: int, into: dict[str, float] = by_part) -> None:
                if number == 1:
                    into.update(processor_seconds_by(pid, part_of))

            timing = measure(command, log, WARM_UP + 2, note)
        turns.append((timing, by_part))
        print(timing, by_part, flush=True)
    imports = {name: import_seconds(code) for name, code in IMPORTS.items()}
    text, ratios = page(turns, imports, load)
    write(Path(__file__).with_suffix(".md"), text, ratios)


if __name__ == "__main__":
    main()
