"""The same run on Ray clusters of 1, 2, 4 and 8 Ray nodes of this host: `python -m benchmarks.ray_cluster`.

The goals: the final model is the same to the bit on all of them, and two Ray nodes with a core each have at
least 0.95 of the efficiency of one Ray node that has both. Every Ray node is a `ray start` with processes,
ports and an object store of its own, and may use its part of two cores and no other. The run is seeded and
all speakers take part in every round, so that a round of one run is the same work as that of another. The
clusters of one and of two Ray nodes take turns.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.report import Ratio, conditions, table, write
from benchmarks.simulation import NODES, QUIET_LOAD, ROOT
from cli.processes import QUIET
from tests.processes import kill_all_of, run_command
from tests.ray_cluster import ray_cluster

SIZES, CORES = (1, 2, 4, 8), 2
SPEAKERS = 96  # of the embedded corpus
WARM_UP, MEASURED, PAIRS = 2, 6, 4
LIMIT_SECONDS = 900.0


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A run on a cluster of `size` Ray nodes: seconds of its measured rounds, and the model that it made."""

    size: int
    seconds: tuple[float, ...]
    model: str  # a digest of its tensors
    dropped: int  # replies

    @property
    def round(self) -> float:
        """Seconds of a round."""
        return sum(self.seconds) / len(self.seconds)


def cores_of(size: int, cores: Sequence[int]) -> list[str]:
    """The processors of each of `size` Ray nodes, as taskset takes them; they are divided, or shared."""
    return [",".join(map(str, cores[node % len(cores) :: size])) for node in range(size)]


def tensors_digest(model: bytes) -> str:
    """SHA-256 of the tensors in a safetensors file; its header names the run."""
    header = int.from_bytes(model[:8], "little")
    return hashlib.sha256(model[8 + header :]).hexdigest()


def turn(size: int, home: Path, number: int) -> Turn:
    """Start a cluster, run on it and end it."""
    place = home / str(number)
    place.mkdir()
    settings = (
        f"training.rounds={WARM_UP + MEASURED} training.cohort={float(SPEAKERS)} "
        f"training.evaluate-every={WARM_UP + MEASURED} run.sentences-shown=0 "
        'corpus.kind="embedded" privacy.noise-source="seeded-not-private" privacy.noise-seed=5 '
        f'run.folder="{place / "runs"}"'
    )
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    variables = {**QUIET, "PYTHONPATH": str(ROOT)}
    cpus = max(1, len(cores) // size)
    with ray_cluster(size, home=home, logs=place, cpus=cpus, cores=cores_of(size, cores)) as cluster:
        words = ("run", "--ray-address", cluster.address, "--nodes", str(NODES), "--set", settings)
        done = run_command("murmur", *words, home=home, cwd=place, seconds=LIMIT_SECONDS, variables=variables)
    if done.returncode:
        raise SystemExit(f"the run on {size} Ray nodes did not end well:\n{done.stdout[-3000:]}")
    folder = place / "runs" / "latest"
    traffic = map(json.loads, (folder / "traffic.jsonl").read_text(encoding="utf-8").splitlines())
    rounds = [line for line in traffic if "drawn" in line]
    return Turn(
        size=size,
        seconds=tuple(line["seconds"] for line in rounds[WARM_UP:]),
        model=tensors_digest((folder / "model.safetensors").read_bytes()),
        dropped=sum(len(line["dropped"]) for line in rounds),
    )


def order(pairs: int, most: int) -> list[int]:
    """The sizes in turn: one and two Ray nodes, each as often the first, then the larger ones."""
    turns = [size for pair in range(pairs) for size in ((1, 2) if pair % 2 == 0 else (2, 1))]
    return turns + [size for size in SIZES if 2 < size <= most]


def efficiencies(turns: Sequence[Turn]) -> list[float]:
    """Of each pair of turns, how much of one Ray node's speed two have."""
    one, two = ([each.round for each in turns if each.size == size] for size in (1, 2))
    return [single / double for single, double in zip(one, two, strict=True)]


def page(turns: Sequence[Turn], load: float, seconds: float) -> tuple[str, list[Ratio]]:
    """The text, and what the table of all pages has."""
    found = efficiencies(turns)
    models = {each.model for each in turns}
    ratios = [
        Ratio(name="Ray clusters of 1 to 8 nodes, different final models", value=len(models) - 1, at_most=0),
        Ratio(name="2 Ray nodes, of one's speed", value=median(found), at_least=0.95),
    ]
    first = turns[0].model
    rows = [("Ray nodes", "a round, s (each turn)", "replies dropped", "same model")]
    for size in sorted({each.size for each in turns}):
        mine = [each for each in turns if each.size == size]
        rows.append(
            (
                str(size),
                ", ".join(f"{each.round:.2f}" for each in mine),
                str(sum(each.dropped for each in mine)),
                "yes" if all(each.model == first for each in mine) else "**no**",
            )
        )
    busy = "" if load <= QUIET_LOAD else "; the seconds measure its other work too"
    said = [
        conditions(),
        f"- `murmur run --ray-address`, {NODES} nodes, all {SPEAKERS} speakers of the embedded corpus in "
        f"every round; {MEASURED} rounds after {WARM_UP} of warm-up",
        f"- load of the machine in the minute before it began: {load:.1f}{busy}",
    ]
    verdict = ratios[1].verdict
    parts = [
        "# A run on Ray clusters",
        "\n".join(said),
        table(rows),
        f"Two Ray nodes with a core each have {median(found):.3f} of the speed of one that has both "
        f"({min(found):.3f} to {max(found):.3f} in {len(found)} pairs of turns; goal: at least 0.95; "
        f"{verdict}).",
        f"All Ray nodes are on this host and share {CORES} cores: four and eight say that the model is the "
        "same, and what more Ray nodes cost, not how fast they could be. The run's own process may use any "
        "core. A model is the same if all its tensors are, to the bit.",
        f"All turns together took {seconds:.0f} s. `python -m benchmarks.ray_cluster` makes this page.",
    ]
    return "\n\n".join(parts), ratios


def main() -> None:
    """Run them and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS, help="turns of one and of two Ray nodes")
    parser.add_argument("--most", type=int, default=max(SIZES), choices=SIZES[1:], help="Ray nodes at most")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # else clusters would outlive this process
    load, began = os.getloadavg()[0], time.monotonic()
    turns = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            for number, size in enumerate(order(given.pairs, given.most)):
                turns.append(turn(size, Path(folder), number))
                print(turns[-1], flush=True)
        finally:
            kill_all_of(Path(folder))
    text, ratios = page(turns, load, time.monotonic() - began)
    write(Path(__file__).with_suffix(".md"), text, ratios)


if __name__ == "__main__":
    main()
