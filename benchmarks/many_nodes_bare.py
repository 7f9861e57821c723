"""The bare local-training loop over the speakers of a round of `many_nodes`, in two processes: run by it."""

from __future__ import annotations

import json
import sys
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.simulation_speakers import PROCESSES, first_vector, speaker_round, synthetic, trainer


def work(pipe: Connection, described: str) -> None:
    """Train the speakers (their numbers) of each list that comes, and say when they are done."""
    vector, train, store = first_vector(), trainer(), synthetic(described)
    names = store.corpus.speakers("train")
    pipe.send(len(names))
    while (asked := pipe.recv()) is not None:
        number, chosen = asked
        for speaker in chosen:
            examples = store.examples("train", names[speaker])
            train.update(vector, examples, speaker_round(number, speaker))
        pipe.send(number)


def main(log: Path, rounds: int, cohort: int, speakers: int) -> None:
    """Rounds of `cohort` speakers, of which each comes once; a line for each goes to `log`."""
    context = get_context("spawn")
    ends = [context.Pipe() for _ in range(PROCESSES)]
    workers = [context.Process(target=work, args=(there, f"{speakers}x1")) for _, there in ends]
    for worker, (_, there) in zip(workers, ends, strict=True):
        worker.start()
        there.close()  # else a worker that fails would be awaited for ever
    pipes = [here for here, _ in ends]
    for pipe in pipes:
        pipe.recv()
    for number in range(1, rounds + 1):
        chosen, began = range((number - 1) * cohort, number * cohort), time.monotonic()
        for part, pipe in enumerate(pipes):
            pipe.send((number, chosen[part::PROCESSES]))
        for pipe in pipes:
            pipe.recv()
        line = {"drawn": cohort, "nodes_answered": cohort, "seconds": time.monotonic() - began}
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    for pipe, worker in zip(pipes, workers, strict=True):
        pipe.send(None)
        worker.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:5]))
