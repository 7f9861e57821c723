"""What `murmur run` does, three times, each on a population of its own: `python -m benchmarks.first_run`.

The goals: a true epsilon of at most 8, at least 15 points of WER off the seed, in at most six minutes on two
cores, start included, in three of three runs.
"""

import tempfile
from pathlib import Path

from benchmarks.recipe_run import Run, write
from benchmarks.report import conditions, table

RUNS = 3
MOST_EPSILON, LEAST_POINTS, MOST_SECONDS = 8.0, 15.0, 360.0
TITLES = ("population", "WER %", "points", "CER %", "epsilon", "RDP", "PLD", "wall s", "processor s", "goals")


def row(run: Run) -> tuple[str, ...]:
    """One run's line of the table."""
    first, last = run.metrics[0], run.metrics[-1]
    points = 100 * (first["wer"] - last["wer"])
    met = run.epsilon.value <= MOST_EPSILON and points >= LEAST_POINTS and run.wall_seconds <= MOST_SECONDS
    return (
        run.corpus,
        f"{100 * first['wer']:.1f} -> {100 * last['wer']:.1f}",
        f"{points:.1f}",
        f"{100 * first['cer']:.1f} -> {100 * last['cer']:.1f}",
        *(f"{value:.3f}" for value in (run.epsilon.value, run.epsilon.rdp, run.epsilon.pld or float("inf"))),
        f"{run.wall_seconds:.0f}",
        f"{run.processor_seconds:.0f}",
        "met" if met else "**not met**",
    )


def main() -> None:
    """Run them and write the page."""
    runs = []
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory() as place:
            runs.append(Run.of([], Path(place)))
    goals = (
        f"Goals: epsilon at most {MOST_EPSILON:g}, at least {LEAST_POINTS:g} points of WER, at most "
        f"{MOST_SECONDS:g} seconds with start and end. The first of these runs is shown below."
    )
    said = f"{conditions()}\n- `murmur run`"
    write(
        "first_run",
        "The first run",
        [said, table([TITLES, *map(row, runs)]), goals, *runs[0].parts("first_run")],
        runs[0],
    )


if __name__ == "__main__":
    main()
