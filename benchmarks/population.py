"""What a large population costs a server: `python -m benchmarks.population`.

The goals: a cohort of 1,000 is drawn and dealt to its nodes in under 0.1 s, and start-up and memory do not
grow with the population beyond a few bytes a speaker. Drawing is timed by itself, over five nodes. Then
`murmur run` with synthetic speakers, made from their numbers as they are asked for: a real simulation of
a round on 8 nodes with a cohort of 16, among 1,000 speakers and among 1,000,000.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.report import Ratio, conditions, one_thread, table, write
from benchmarks.watch import Watch, every_half_second
from privacy import PrivacyPlan, draw_cohort
from strategies import PopulationIndex
from tests.processes import run_command

POPULATIONS, COHORT, DRAWS = (1_000, 100_000, 1_000_000), 1_000, 20
RUNS, NODES, RUN_COHORT = (1_000, 1_000_000), 8, 16
SERVER, WORKER = "cli.run.simulation_process", "ray::"
SETTINGS = (
    f"training.rounds=1 training.cohort={float(RUN_COHORT)} privacy.noise-multiplier=1.0 "
    'run.sentences-shown=0 corpus.feature-cache=false corpus.kind="synthetic" corpus.path="{speakers}x5"'
)


def drawing(population: int) -> tuple[float, float]:
    """The slowest of `DRAWS` draws in seconds, and by how many bytes a speaker the peak of memory grew."""
    plan = PrivacyPlan(
        population=population, cohort=min(COHORT, population), rounds=1, noise_multiplier=1.0, delta=1e-7
    )
    before = _peak_bytes()
    population_index = PopulationIndex.of(dict.fromkeys(range(5), population // 5))
    seconds = []
    for _ in range(DRAWS):
        began = time.process_time()
        population_index.locate(draw_cohort(plan, 0))
        seconds.append(time.process_time() - began)
    return max(seconds), (_peak_bytes() - before) / population


def _peak_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def simulation(speakers: int) -> dict[str, float]:
    """A real run: seconds until the first line of its table and of its only round, and peaks in MB."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        watch = Watch(folder, (SERVER, WORKER))
        stack.callback(every_half_second(watch.look))
        began = time.monotonic()
        command = ("murmur", "run", "--nodes", str(NODES), "--set", SETTINGS.format(speakers=speakers))
        done = run_command(*command, home=Path(folder), cwd=Path(folder), seconds=500)
        if done.returncode or len(watch.rounds) < 2:
            raise SystemExit(f"the run did not end well:\n{done.stdout[-3000:]}")
        start, end = watch.rounds[0] - began, watch.rounds[1] - watch.rounds[0]
        return {
            "start": start,
            "round": end,
            "processor": watch.processor_seconds(SERVER),
            "server": watch.peak(SERVER) / 1e6,
            "worker": watch.peak(WORKER) / 1e6,
        }


def main() -> None:
    """Measure and write the page."""
    one_thread()
    draws = {population: drawing(population) for population in POPULATIONS}
    rows = [("speakers", f"slowest of {DRAWS} draws, ms", "bytes a speaker, at the peak")]
    rows += [(f"{n:,}", f"{1e3 * seconds:.2f}", f"{size:.1f}") for n, (seconds, size) in draws.items()]
    runs = {speakers: simulation(speakers) for speakers in RUNS}
    heading = (
        "speakers",
        "until round 0's line, s",
        "the round, s",
        "server, CPU s",
        "server, MB",
        "worker, MB",
    )
    lines = [heading] + [
        (
            f"{n:,}",
            f"{run['start']:.1f}",
            f"{run['round']:.1f}",
            f"{run['processor']:.1f}",
            f"{run['server']:.0f}",
            f"{run['worker']:.0f}",
        )
        for n, run in runs.items()
    ]
    few, many = runs[RUNS[0]], runs[RUNS[-1]]
    grown = (many["server"] - few["server"]) * 1e6 / (RUNS[-1] - RUNS[0])
    ratios = [
        Ratio(name="cohort of 1,000 out of 1,000,000, s", value=draws[1_000_000][0], at_most=0.1),
        Ratio(
            name="server, processor seconds more for 999,000 speakers more",
            value=many["processor"] - few["processor"],
            at_most=1.0,
        ),
        Ratio(name="server, bytes for each speaker more", value=grown, at_most=16),
    ]
    verdicts = ", ".join(f"{one.name}: {one.value:.3g} ({one.goal}: {one.verdict})" for one in ratios)
    parts = ["# Population", conditions(), "## Drawing a cohort of 1,000", table(rows)]
    parts += [f"## A round of {RUN_COHORT} speakers on {NODES} nodes", table(lines), NOTES, f"{verdicts}."]
    write(Path(__file__).with_suffix(".md"), "\n\n".join(parts), ratios)


NOTES = """Drawing is timed by a processor's clock. Of the runs the first two columns are wall-clock seconds
from the command, Ray's start included, longer where the machine has other work. The server is the process
that holds the ServerApp, Flower's state and the simulation engine: its processor seconds are those of the
whole run, start-up included, and two runs differ by a second as it is. Its peak, as the largest worker's, is
of resident memory."""

if __name__ == "__main__":
    sys.exit(main())
