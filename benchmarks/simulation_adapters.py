"""Rounds with adapters on a pre-trained model: `python -m benchmarks.simulation_adapters MODEL`.

They are measured beside a bare loop. MODEL is a folder of Whisper tiny.en in Hugging Face's layout. The
recipe is `recipes/run/whisper-adapt.toml` over synthetic speakers, one batch of five utterances each.
In both ways the frozen part of the model is computed once for each utterance, and kept. The goal: a round of
64 speakers on 8 nodes and 2 processes takes at most 1.10 of the bare loop in as many processes, evaluation
apart. The two take turns, as in `simulation`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.report import Ratio, conditions, table, write
from benchmarks.simulation import NODES, QUIET_LOAD, WARM_UP, Timing, measure, results
from benchmarks.simulation_adapters_bare import RECIPE
from benchmarks.simulation_speakers import COHORT, PROCESSES

SENTENCES = 5  # of a speaker, one batch
MEASURED, TURNS, MOST = 4, 3, 1.10
TITLES = {
    "bare": "the bare loop: `LocalTrainer.update` in two processes, nothing else",
    "ours": f"ours: `murmur run`, {NODES} nodes, all that a round does but evaluation",
}


def settings(model: Path, rounds: int) -> str:
    """The recipe's settings that both ways have otherwise."""
    chosen = {
        "corpus.kind": "synthetic",
        "corpus.path": f"{COHORT}x{SENTENCES}",
        "corpus.feature-cache": True,
        "model.name": str(model),
        "training.rounds": rounds,
        "training.cohort": float(COHORT),
        "training.evaluate-every": 10 * rounds,
        "training.evaluate-share": 0.05,
        "run.sentences-shown": 0,
    }
    return " ".join(f"{name}={json.dumps(value)}" for name, value in chosen.items())


def parties(model: Path, folder: Path, rounds: int) -> dict[str, tuple[list[str], Path]]:
    """The command of each way, and where its rounds are written."""
    bare, log = settings(model, rounds), folder / "bare.jsonl"
    loop = [sys.executable, "-m", "benchmarks.simulation_adapters_bare", str(log), str(rounds), bare]
    ours = [sys.executable, "-c", "from cli.main import main; main()", "run", "--nodes", str(NODES)]
    ours += ["--cpus-per-node", str(max(1, (os.cpu_count() or 1) // PROCESSES)), "--recipe", str(RECIPE)]
    ours += ["--set", bare, "--set", f"run.folder={json.dumps(str(folder / 'runs'))}"]
    return {"bare": (loop, log), "ours": (ours, folder / "runs" / "latest" / "traffic.jsonl")}


def page(
    turns: Sequence[tuple[str, Timing]], measured: int, load: float, seconds: float
) -> tuple[str, list[Ratio]]:
    """The text, and what the table of all pages has."""
    found = results(turns)
    ours, quiet = found["ours"], load <= QUIET_LOAD
    rows = [("a round", "wall s", "processor s", "wall / bare", "processor / bare", "start s")]
    for name, title in TITLES.items():
        one = found[name]
        numbers = (one.timing.wall, one.timing.processor, one.wall_ratio, one.processor_ratio)
        rows.append((title, *(f"{number:.2f}" for number in numbers), f"{one.timing.start:.1f}"))
    ratios = [
        Ratio(name="adapters, wall of a round over the bare loop", value=ours.wall_ratio, at_most=MOST),
        Ratio(name="adapters, processor time over the bare loop", value=ours.processor_ratio, at_most=MOST),
    ]
    said = [
        conditions(),
        f"- transformers {version('transformers')}; Whisper tiny.en, the adapters of `{RECIPE.name}`, one "
        f"batch of {SENTENCES} utterances a speaker, what is frozen kept",
        f"- {COHORT} synthetic speakers, all of them in a round, {PROCESSES} processes; rounds "
        f"after {WARM_UP} of warm-up: {measured}; turns: {len(ours.walls)}; medians",
        "- each turn's ratio is to the mean of the bare loop just before and just after it; of the wall "
        f"clock, ours were {', '.join(f'{wall:.2f}' for wall in ours.walls)}",
        f"- load of the machine in the minute before it began: {load:.1f}"
        + ("" if quiet else "; the wall clock measures its other work too"),
    ]
    verdicts = "\n".join(f"- {one.name}: {one.value:.2f} ({one.goal}; {one.verdict})" for one in ratios)
    parts = [
        "# A simulated round with adapters on a pre-trained model",
        "\n".join(said),
        table(rows),
        verdicts,
        f"All turns together took {seconds:.0f} s. `python -m benchmarks.simulation_adapters MODEL` makes "
        "this page.",
    ]
    return "\n\n".join(parts), ratios


def main() -> None:
    """Measure both in turns and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="the folder of Whisper tiny.en")
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--rounds", type=int, default=MEASURED, help="rounds that are measured in a turn")
    given = parser.parse_args()
    load, began = os.getloadavg()[0], time.monotonic()
    rounds = WARM_UP + given.rounds
    turns: list[tuple[str, Timing]] = []
    with tempfile.TemporaryDirectory() as place:
        for number, party in enumerate([*("bare", "ours") * given.turns, "bare"]):
            folder = Path(place) / str(number)
            folder.mkdir()
            command, log = parties(given.model.resolve(), folder, rounds)[party]
            turns.append((party, measure(command, log, rounds)))
            print(*turns[-1], flush=True)
    text, ratios = page(turns, given.rounds, load, time.monotonic() - began)
    write(Path(__file__).with_suffix(".md"), text, ratios)


if __name__ == "__main__":
    main()
