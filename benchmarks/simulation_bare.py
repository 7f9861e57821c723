"""The bare local-training loop in two processes, no federation: run by `simulation`."""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection

from benchmarks.bare_workers import bare_workers, serve
from benchmarks.simulation_speakers import (
    RoundLog,
    cohort,
    first_vector,
    speaker_round,
    speakers,
    trainer,
)


def work(pipe: Connection) -> None:
    """Train speakers of the benchmark's corpus."""
    vector, train = first_vector(), trainer()
    speakers()  # loaded before the first round

    def one(number: int, speaker: int) -> None:
        train.update(vector, speakers()[speaker], speaker_round(number, speaker))

    serve(pipe, one)


def main(log_path: str, rounds: int) -> None:
    """Rounds of half a cohort for each process."""
    with bare_workers(work) as train:
        log = RoundLog(log_path)
        for number in range(1, rounds + 1):
            chosen = cohort(number)
            log.begin()
            train(number, chosen)
            log.end(number)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
