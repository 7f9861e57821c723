"""Inside the speaker process: take an order, train that speaker within the budget, report, wait for the next.

`client.training.process` forks this process and has the guarantees. Here are the limits that the process puts
on itself: processor time and memory, no core dumps, none of its parent's files.
"""

from __future__ import annotations

import logging
import os
import resource
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from client.training.process_messages import Failed, Ready, Report, Trained, encode
from client.training.speaker_round import SpeakerRound

log = logging.getLogger("murmuration.client")

STANDSTILL = signal.SIGALRM  # the parent ends a process that stands still with it
MEGABYTE = 1024**2


@dataclass(frozen=True, kw_only=True)
class SpeakerBudget:
    """The maximum that one speaker round may use.

    `processor_seconds` are seconds of computing or standing still. `memory_megabytes` are beyond what the
    process had before its first speaker.
    """

    processor_seconds: float
    memory_megabytes: int


class Training(Protocol):
    """What runs in the process."""

    @property
    def frozen(self) -> str:
        """Digest of the parameters that are not trained."""

    def warm_up(self) -> float:
        """Do once what otherwise only the first speaker would have to do.

        Returns:
            The processor seconds that a speaker with the maximum of speech takes here.
        """

    def train(
        self, speaker_round: SpeakerRound, split: str, vector: Tensor, correction: Tensor | None
    ) -> Trained:
        """Train one speaker from `vector` (d,). The update goes to the memory given to `MakeTraining`."""


MakeTraining = Callable[[Tensor], Training]
"""Makes the training in the process; its argument is the memory (room,) for updates."""


def serve(
    orders: Connection,
    reports: Connection,
    make: MakeTraining,
    vector: Tensor,
    update: Tensor,
    budget: SpeakerBudget,
) -> None:
    """Train the speakers that the parent orders, until the parent ends.

    Args:
        orders: Brings (number of the order, `SpeakerRound`, split, correction).
        reports: Takes the frames of `client.training.process_messages`.
        make: Makes the training, once.
        vector: The round's model (d,), in memory that the parent writes.
        update: Memory for updates (room,), which the parent reads.
        budget: The maximum for one speaker round.
    """
    _close_the_parents_files(orders.fileno(), reports.fileno())
    _be_the_first_to_end()
    _write_no_core()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends, and then this process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for fatal in (signal.SIGPROF, STANDSTILL):
        signal.signal(fatal, signal.SIG_DFL)
    torch.set_num_threads(1)
    try:
        training = make(update)
        ready = Ready(frozen=training.frozen, longest_seconds=training.warm_up())
    except Exception as error:
        _send(reports, Failed(error=error))
        return
    most = data_bytes() + budget.memory_megabytes * MEGABYTE
    _send(reports, ready)
    while True:
        try:
            order, speaker_round, split, correction = orders.recv()
        except EOFError:
            return
        _limit_memory(most)
        trained = _train(training, speaker_round, split, vector, correction, budget)
        _send(reports, trained, order)
        if trained is None:
            return  # whatever the speaker's training left behind goes with this process


def _send(reports: Connection, report: Report, order: int = 0) -> None:
    os.write(reports.fileno(), encode(report, order))  # a frame is written in one piece


def _train(
    training: Training,
    speaker_round: SpeakerRound,
    split: str,
    vector: Tensor,
    correction: Tensor | None,
    budget: SpeakerBudget,
) -> Trained | None:
    """Train one speaker. The kernel ends this process if that takes more processor time than allowed."""
    signal.setitimer(signal.ITIMER_PROF, budget.processor_seconds)
    try:
        return training.train(speaker_round, split, vector, correction)
    except Exception:  # a fault of one speaker must not cost the others their round
        log.exception("a speaker could not be trained and counts as zero")
        return None
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _limit_memory(size: int) -> None:
    """Let allocations fail beyond `size` bytes of data, if the kernel can count them."""
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    if data_bytes():
        resource.setrlimit(resource.RLIMIT_DATA, (size if most < 0 else min(size, most), most))


def data_bytes(process: int | None = None) -> int:
    """The private memory of a process that `RLIMIT_DATA` limits, by default of this one; 0 if unknown."""
    try:
        pages = of_process(process or "self", "statm").split()[5]
    except OSError:
        return 0
    return int(pages) * resource.getpagesize()


def of_process(process: int | str, what: str) -> bytes:
    """What the kernel tells of a process in a short file; `Path.read_text` takes five times as long.

    Raises:
        OSError: If there is no such process or file.
    """
    descriptor = os.open(f"/proc/{process}/{what}", os.O_RDONLY)
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)


def _be_the_first_to_end() -> None:
    """Let the kernel end this process, and not the parent, when the machine has no memory left."""
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError:
        log.warning("the kernel may end this node's ClientApp, not its speaker process, if memory runs out")


def _write_no_core() -> None:
    """Let a crash write no core: this memory holds speech, and a core takes time and disk space."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _close_the_parents_files(*kept: int) -> None:
    """Let go of the parent's connections and locks, which would stay open as long as this process lives.

    Their numbers stay taken, because objects copied from the parent still close them.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in [int(name) for name in os.listdir("/dev/fd")]:
        if number > 2 and number not in (*kept, nothing):
            try:
                os.dup2(nothing, number, inheritable=False)
            except OSError:  # the descriptor of the listing itself
                continue
