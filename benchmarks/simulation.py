"""A simulated round against the bare loop, stock Flower and pfl: `python -m benchmarks.simulation`.

The goals: a round of 64 speakers on 2 processes takes at most 1.08 of the bare local-training loop in as many
processes, evaluation apart; under 15 s to the first training step; ahead of pfl, and at least 3 times stock
Flower's client updates a second. Each party runs in processes of its own and writes a line a round; the
processor time is that of all its processes. A machine's speed may wander by a third within a minute, so each
turn of a party is compared with the bare loop just before and just after it, and ours has several turns.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

from benchmarks.pfl_environment import NoPfl, pfl_python
from benchmarks.processes import end, processor_seconds
from benchmarks.report import conditions, table, write
from benchmarks.simulation_speakers import COHORT, PROCESSES
from cli.processes import QUIET, free_port

ROOT = Path(__file__).parents[1]
WARM_UP, MEASURED = 2, 8
ROUNDS = WARM_UP + MEASURED
NODES = 8
END_SECONDS = 300.0  # a run evaluates once more after its last round
QUIET_LOAD = 0.5  # above this the wall clock measures the neighbours too
ENVIRONMENT = {**os.environ, **QUIET, "PYTHONPATH": str(ROOT)}


@dataclass(frozen=True)
class Timing:
    """`COHORT` client updates: wall and processor seconds; and seconds to the first training step."""

    wall: float
    processor: float
    start: float

    @property
    def updates_a_second(self) -> float:
        """Client updates per second of the clock."""
        return COHORT / self.wall

    @property
    def updates_a_processor_second(self) -> float:
        """Client updates per second of one processor."""
        return COHORT / self.processor


def measure(
    command: Sequence[str],
    log: Path,
    rounds: int = ROUNDS,
    after_round: Callable[[int, int], object] = lambda number, pid: None,
) -> Timing:
    """Run `command` until its log has all `rounds`; the first `WARM_UP` of them do not count.

    `after_round` is called after each round with its number and that of the process.
    """
    began = time.monotonic()
    seen: list[tuple[dict[str, float], float, float]] = []
    read = 0
    with _running(command) as process:
        while len(seen) < rounds:
            if process.poll() is not None and not len(finished_rounds(log)) == rounds:
                raise RuntimeError(f"{' '.join(command)} ended after {len(seen)} of {rounds} rounds")
            if (size := log.stat().st_size if log.exists() else 0) != read:
                for line in finished_rounds(log)[len(seen) :]:
                    after_round(len(seen) + 1, process.pid)
                    seen.append((line, time.monotonic() - began, processor_seconds(process.pid)))
                read = size
            time.sleep(0.02)
    counted = seen[WARM_UP:]
    drawn = sum(line["drawn"] for line, _, _ in counted)
    wall = median(line["seconds"] / line["drawn"] for line, _, _ in counted) * COHORT
    return Timing(
        wall=wall,
        processor=(counted[-1][2] - seen[WARM_UP - 1][2]) / drawn * COHORT,
        start=seen[0][1] - wall,  # the first round also loads and compiles: that is part of the start
    )


def finished_rounds(log: Path) -> list[dict[str, float]]:
    """The finished rounds. (Between them, ours writes what went to each node and came from it.)"""
    return [line for line in _lines(log) if "drawn" in line]


def _lines(log: Path) -> list[dict[str, float]]:
    """What is there; a line that is being written is not there yet."""
    lines = log.read_text(encoding="utf-8").split("\n")[:-1] if log.exists() else []
    return [line for line in map(json.loads, lines) if "round" in line]


@contextmanager
def _running(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command,
        env=ENVIRONMENT,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
        process.wait(timeout=END_SECONDS)
    finally:
        end(process.pid)
        process.wait()


def parties(folder: Path, rounds: int = ROUNDS) -> dict[str, tuple[list[str], Path]]:
    """The command of each party and where its `rounds` are written."""

    def module(
        name: str, log: Path, *words: str, python: Sequence[str] = (sys.executable, "-m")
    ) -> tuple[list[str], Path]:
        return [*python, f"benchmarks.simulation_{name}", str(log), str(rounds), *words], log

    settings = {
        "training.rounds": rounds,
        "training.cohort": float(COHORT),
        "corpus.kind": json.dumps("embedded"),
        "training.evaluate-every": 10 * rounds,
        "run.folder": json.dumps(str(folder / "runs")),
    }
    ours = [sys.executable, "-c", "from cli.main import main; main()", "run", "--nodes", str(NODES)]
    ours += ["--cpus-per-node", str(max(1, (os.cpu_count() or 1) // PROCESSES))]
    for name, value in settings.items():
        ours += ["--set", f"{name}={value}"]
    launcher = [str(folder / "pfl" / "bin" / "python"), "-m", "torch.distributed.run"]
    launcher += [f"--nproc-per-node={PROCESSES}", f"--master-port={free_port()}", "-m"]
    return {
        "bare": module("bare", folder / "bare.jsonl"),
        "ours": (ours, folder / "runs" / "latest" / "traffic.jsonl"),
        "flower": module("flower", folder / "flower.jsonl", "plain"),
        "flower, our training": module("flower", folder / "flower.jsonl", "ours"),
        "pfl": module("pfl", folder / "pfl.jsonl", python=launcher),
    }


def main() -> None:
    """Measure every party, the bare loop before each and at the end, and write the page."""
    began = time.monotonic()
    names = ("ours", "flower", "ours", "pfl", "ours", "flower, our training", "ours")
    turns: list[tuple[str, Timing]] = []
    notes = []
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as place:
        try:
            pfl_python(Path(place) / "pfl")
        except NoPfl as reason:
            names = tuple(party for party in names if party != "pfl")
            notes.append(str(reason))
        for number, party in enumerate(turn for name in (*names, "") for turn in ("bare", name) if turn):
            folder = Path(place) / str(number)
            folder.mkdir()
            (folder / "pfl").symlink_to(Path(place) / "pfl")
            turns.append((party, measure(*parties(folder)[party])))
            print(*turns[-1], flush=True)
    notes.append(f"All parties together took {time.monotonic() - began:.0f} s.")
    write(Path(__file__).with_suffix(".md"), page(turns, load, notes))


@dataclass(frozen=True)
class Result:
    """Medians over a party's turns: of its seconds, and of their ratios to the bare loop around each turn.

    `walls` are those ratios of the wall clock, turn by turn.
    """

    timing: Timing
    wall_ratio: float
    processor_ratio: float
    walls: tuple[float, ...]


def results(turns: Sequence[tuple[str, Timing]]) -> dict[str, Result]:
    """What the turns say of each party; every other turn, the first and the last are the bare loop's."""
    found: dict[str, list[tuple[Timing, float, float]]] = defaultdict(list)
    for number, (party, timing) in enumerate(turns):
        around = [turn for name, turn in turns[max(0, number - 1) : number + 2] if name == "bare"]
        wall, processor = (mean(getattr(turn, what) for turn in around) for what in ("wall", "processor"))
        found[party].append((timing, timing.wall / wall, timing.processor / processor))
    return {
        party: Result(
            timing=Timing(
                *(median(getattr(one, what) for one, _, _ in each) for what in ("wall", "processor", "start"))
            ),
            wall_ratio=median(wall for _, wall, _ in each),
            processor_ratio=median(processor for _, _, processor in each),
            walls=tuple(wall for _, wall, _ in each),
        )
        for party, each in found.items()
    }


TITLES = {
    "bare": "the bare loop: `LocalTrainer.update` in two processes, nothing else",
    "ours": f"ours: `murmur run`, {NODES} nodes, all that a round does but evaluation",
    "flower": "Flower: FedAdam in the DP wrapper, a speaker a node that trains as in Flower's examples",
    "flower, our training": "Flower: the same, its nodes with our `LocalTrainer` and features",
    "pfl": "pfl 0.6.0: federated averaging, Gaussian mechanism, Adam, torchrun",
}


def page(turns: Sequence[tuple[str, Timing]], load: float, notes: Sequence[str]) -> str:
    """The table and the verdicts."""
    found = results(turns)
    ours = found["ours"]
    quiet = load <= QUIET_LOAD
    rows = [
        (
            f"a round of {COHORT} speakers, {PROCESSES} processes",
            "wall s",
            "processor s",
            "wall / bare",
            "processor / bare",
            "updates / wall s",
            "updates / processor s",
            "start s",
        )
    ]
    for name, title in TITLES.items():
        if name not in found:
            continue
        one = found[name].timing
        rows.append(
            (
                title,
                f"{one.wall:.2f}",
                f"{one.processor:.2f}",
                f"{found[name].wall_ratio:.2f}",
                f"{found[name].processor_ratio:.2f}",
                f"{one.updates_a_second:.1f}",
                f"{one.updates_a_processor_second:.1f}",
                f"{one.start:.1f}",
            )
        )
    goals = [
        verdict("wall of a round over the bare loop", ours.wall_ratio, 1.08, at_most=True, judged=quiet),
        verdict("processor time over the bare loop", ours.processor_ratio, 1.08, at_most=True),
        verdict("seconds to the first training step", ours.timing.start, 15.0, at_most=True, judged=quiet),
    ]
    for other, goal in (("flower", 3.0), ("flower, our training", 3.0), ("pfl", 1.0)):
        if other in found:
            for what, ratio, judged in (
                ("wall", found[other].wall_ratio / ours.wall_ratio, quiet),
                ("processor", found[other].processor_ratio / ours.processor_ratio, True),
            ):
                title = f"client updates a second beside {other}, by {what}"
                goals.append(verdict(title, ratio, goal, at_most=False, judged=judged))
    return "\n".join(
        [
            "# A simulated round",
            "",
            conditions(),
            f"- the embedded corpus: {COHORT} of its training speakers a round, 20 utterances each in "
            f"batches of 5, `tiny`; {MEASURED} rounds after {WARM_UP} of warm-up, medians over the rounds, "
            "and over a party's turns; start: until the first round's end, less a round",
            "- each turn's ratio is to the mean of the bare loop just before and just after it; of the wall "
            f"clock, ours were {', '.join(f'{wall:.2f}' for wall in ours.walls)}",
            f"- load of the machine in the minute before it began: {load:.1f}"
            + ("" if quiet else "; the wall clock and the start measure its other work too"),
            "",
            table(rows),
            "",
            *goals,
            "",
            "Ours draws by Poisson sampling, and its numbers are for as many speakers as the others have; "
            "Flower draws a fixed number, pfl with replacement. As in Flower's examples, its nodes make a "
            "model and their data for each message and train by a plain loop; our trainer in their place "
            "shows what Flower's strategy and messages cost. Pfl trains by its own loop and torch.optim.SGD "
            "on our batches. Ours also writes ledger, checkpoint, model and metrics in each round, all "
            "durably; the others write nothing. Ray gives its workers a niceness of 15: on a busy machine "
            "ours and Flower's wait for everybody else.",
            *notes,
        ]
    )


def verdict(what: str, value: float, goal: float, *, at_most: bool, judged: bool = True) -> str:
    """One goal, what was reached, and whether that is enough; a busy machine's clock judges nothing."""
    met = value <= goal if at_most else value >= goal
    bound = "at most" if at_most else "at least"
    outcome = ("met" if met else "not met") if judged else "not judged: the machine was busy"
    return f"- {what}: {value:.2f} (goal: {bound} {goal:g}; {outcome})"


if __name__ == "__main__":
    main()
