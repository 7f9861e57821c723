"""The bare local-training loop in two processes, no federation: run by `simulation`."""

from __future__ import annotations

import sys
from multiprocessing import get_context
from multiprocessing.connection import Connection

from benchmarks.simulation_speakers import (
    PROCESSES,
    RoundLog,
    cohort,
    first_vector,
    speaker_round,
    speakers,
    trainer,
)


def work(pipe: Connection) -> None:
    """Train the speakers of each list that comes, one after the other, and say when they are done."""
    vector, train = first_vector(), trainer()
    pipe.send(len(speakers()))
    while (asked := pipe.recv()) is not None:
        number, chosen = asked
        for speaker in chosen:
            train.update(vector, speakers()[speaker], speaker_round(number, speaker))
        pipe.send(number)


def main(log_path: str, rounds: int) -> None:
    """Rounds of half a cohort for each process."""
    context = get_context("spawn")
    ends = [context.Pipe() for _ in range(PROCESSES)]
    workers = [context.Process(target=work, args=(there,)) for _, there in ends]
    for worker, (_, there) in zip(workers, ends, strict=True):
        worker.start()
        there.close()  # else a worker that fails would be awaited for ever
    pipes = [here for here, _ in ends]
    for pipe in pipes:
        pipe.recv()
    log = RoundLog(log_path)
    for number in range(1, rounds + 1):
        chosen = cohort(number)
        log.begin()
        for part, pipe in enumerate(pipes):
            pipe.send((number, chosen[part::PROCESSES]))
        for pipe in pipes:
            pipe.recv()
        log.end(number)
    for pipe, worker in zip(pipes, workers, strict=True):
        pipe.send(None)
        worker.join()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
