"""The bare local-training loop over the speakers of a round of `many_nodes`, in two processes: run by it."""

from __future__ import annotations

import json
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.bare_workers import bare_workers, serve
from benchmarks.simulation_speakers import first_vector, speaker_round, synthetic, trainer


def work(pipe: Connection, described: str) -> None:
    """Train speakers of the synthetic corpus that is described so."""
    vector, train, store = first_vector(), trainer(), synthetic(described)
    names = store.corpus.speakers("train")

    def one(number: int, speaker: int) -> None:
        examples = store.examples("train", names[speaker])
        train.update(vector, examples, speaker_round(number, speaker))

    serve(pipe, one)


def main(log: Path, rounds: int, cohort: int, speakers: int) -> None:
    """Rounds of `cohort` speakers, of which each comes once; a line for each goes to `log`."""
    with bare_workers(work, f"{speakers}x1") as train:
        for number in range(1, rounds + 1):
            chosen, began = range((number - 1) * cohort, number * cohort), time.monotonic()
            train(number, chosen)
            seconds = time.monotonic() - began
            line = {"round": number, "drawn": cohort, "nodes_answered": cohort, "seconds": seconds}
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:5]))
