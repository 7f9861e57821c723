"""Processes that train lists of speakers, with nothing around them: what a federation is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection

from benchmarks.simulation_speakers import PROCESSES

Train = Callable[[int, Sequence[int]], None]
"""Train these speakers (their numbers) in the round of this number."""


def serve(pipe: Connection, train: Callable[[int, int], object]) -> None:
    """In a process: train the speakers of each list that comes, and say when they are done.

    `train` gets the number of the round and that of a speaker.
    """
    pipe.send(None)  # ready
    while (asked := pipe.recv()) is not None:
        number, chosen = asked
        for speaker in chosen:
            train(number, speaker)
        pipe.send(number)


@contextmanager
def bare_workers(work: Callable[..., None], *arguments: object) -> Iterator[Train]:
    """Processes of `work(pipe, *arguments)`, which calls `serve`; each gets a part of the speakers."""
    context = get_context("spawn")
    ends = [context.Pipe() for _ in range(PROCESSES)]
    workers = [context.Process(target=work, args=(there, *arguments)) for _, there in ends]
    for worker, (_, there) in zip(workers, ends, strict=True):
        worker.start()
        there.close()  # else a worker that fails would be awaited for ever
    pipes = [here for here, _ in ends]
    for pipe in pipes:
        pipe.recv()

    def train(number: int, chosen: Sequence[int]) -> None:
        for part, pipe in enumerate(pipes):
            pipe.send((number, chosen[part::PROCESSES]))
        for pipe in pipes:
            pipe.recv()

    yield train
    for pipe, worker in zip(pipes, workers, strict=True):
        pipe.send(None)
        worker.join()
