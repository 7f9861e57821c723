"""The speaker process, seen from its parent: what one speaker's data does to it costs the others nothing.

A node's own process decodes no audio and trains no speaker. (When it loads a corpus, it reads the headers of
files whose length no table gives.) It forks this process, which trains one speaker at a time into memory that
both share, and it takes each update out itself before the next one begins. So whatever a speaker's data does
(a decoder that crashes, a recording that never ends, memory without end), it does in the speaker process, in
that speaker's own round.

Guarantee: the result of a speaker round is the speaker's update, or nothing if the training failed, died or
used up the `SpeakerBudget`. The parent copies the update into its own memory before it reads it, and takes
reports as frames of numbers (`client.training.process_messages`), each with the number of its order. So a
process that a sound file has taken over, and that goes on writing, changes nothing that was measured, and
sends no object; and a report that comes early or twice is not taken for that on a later speaker. After a
failed training, or when the process has grown by more than `KEPT_SHARE` of a speaker's memory, another fork
of the same parent replaces it. A new process warms up on noise, so that its first speaker takes hardly more
time than the next. Time counts when the process computes or stands still, not when it waits for a processor:
that depends on others.

Limits of this guarantee:

- A process that was taken over also trains the speakers after that one, until it is replaced. It has the
  rights of the user that runs it.
- Earlier speakers affect a speaker only at the edge of the budget: by `KEPT_SHARE` of the memory, by what the
  allocator had free when the process began, and by the time that a full cache saves.
- The machine itself: a parent that is killed loses its node's sum, and on overloaded processors a training
  within its budget can take longer than the round's deadline (docs/privacy.md).
"""

from __future__ import annotations

import logging
import math
import mmap
import multiprocessing
import os
import select
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import torch
from torch import Tensor

from client.training.process_loop import (
    MEGABYTE,
    STANDSTILL,
    MakeTraining,
    SpeakerBudget,
    data_bytes,
    of_process,
    serve,
)
from client.training.process_messages import FRAME_BYTES, Failed, Ready, Report, Trained, decode
from client.training.speaker_round import SpeakerRound

log = logging.getLogger("murmuration.client")

POLL_SECONDS = 1.0
KEPT_SHARE = 1 / 8
"""How much a process may have grown when the next speaker begins, as a share of the memory budget."""
_END_SECONDS = 5.0
_PATIENCE = 10  # a later start may take this many times as long as the first
_LEAST_PATIENCE_SECONDS = 30.0
_FORK = multiprocessing.get_context("fork")


class SpeakerProcess:
    """The parent's side: starts the process, and starts another when one has ended.

    Args:
        make: Makes what runs in the process.
        size: Length d of the model's vector.
        room: Length of an update: d and the entries behind it, which stay zero.
        budget: The maximum for one speaker round.

    Raises:
        Exception: What `make` raised in the process, if its type is one of
            `client.training.process_messages.ERRORS`; else `RuntimeError`.
    """

    def __init__(self, make: MakeTraining, *, size: int, room: int, budget: SpeakerBudget) -> None:
        self._make, self._budget = make, budget
        self._vector, self._update = _shared(size), _shared(room)
        # The update as it was when its training ended, in memory that no other process has.
        self._taken = torch.zeros(room)
        self._process: BaseProcess | None = None
        self._arrived: select.poll  # of the reports
        self._awaited: _Order | None = None
        self._number = 0  # of the last order
        self._orders: Connection
        self._reports: Connection
        self._data_bytes = 0  # of the process, before its first speaker
        self._start_seconds = math.inf
        began = time.monotonic()
        self.ready = self._start()
        self._start_seconds = max(_LEAST_PATIENCE_SECONDS, _PATIENCE * (time.monotonic() - began))

    def load(self, vector: Tensor) -> None:
        """Let the next speaker rounds begin from `vector` (d,)."""
        self._vector.copy_(vector)

    def train(
        self, speaker_round: SpeakerRound, split: str, correction: Tensor | None = None
    ) -> tuple[Tensor, Trained] | None:
        """Train one speaker.

        Args:
            speaker_round: The speaker and the round.
            split: The split of the corpus that has the speaker's speech.
            correction: What the local algorithm's exchange gives to each step (d,), if it has one.

        Returns:
            The update (room,), in memory of the parent alone that the next call overwrites, and the report.
            None if the speaker counts as zero; the log has the reason.
        """
        return self._result(self._order(speaker_round, split, correction))

    def train_each(
        self, speaker_rounds: Iterable[SpeakerRound], split: str
    ) -> Iterator[tuple[Tensor, Trained] | None]:
        """As `train` for each, in their order; the next one trains while the caller has an update.

        So each of `speaker_rounds` is asked for before the update of the one before is given. If the caller
        stops, the training that is under way ends with its process.
        """
        coming = iter(speaker_rounds)
        one = next(coming, None)
        order = None if one is None else self._order(one, split)
        try:
            while one is not None:
                result = self._result(order)
                one = next(coming, None)
                order = None if one is None else self._order(one, split)
                yield result
        finally:
            if order is not None and order is self._awaited and self._process is not None:
                self._process.kill()
                self._end()

    def _order(
        self, speaker_round: SpeakerRound, split: str, correction: Tensor | None = None
    ) -> _Order | None:
        """Have the process train one speaker; returns None if that speaker counts as zero."""
        try:
            if self._process is not None and (self._awaited is not None or self._arrived.poll(0)):
                self._end()  # it died since the last order, or reports what nobody waits for
            if self._process is None:
                self._start()
            self._number += 1
            self._awaited = _Order(self._number, _Clock.of(self._process))
            self._orders.send((self._number, speaker_round, split, correction))
            return self._awaited
        except (EOFError, OSError):
            log.error("a speaker counts as zero: %s", self._end())
        except Exception:  # no process can start now: the node still sends what it has added
            log.exception("a speaker counts as zero")
        return None

    def _result(self, order: _Order | None) -> tuple[Tensor, Trained] | None:
        """Wait for the training of this order, and copy its update."""
        if order is None:
            return None
        if order is not self._awaited:
            log.error("a speaker counts as zero: the process was ended, or got another order")
            return None
        try:
            outcome = self._outcome(self._budget.processor_seconds, order)
        except (EOFError, OSError):
            log.error("a speaker counts as zero: %s", self._end())
            return None
        finally:
            self._awaited = None
        if not isinstance(outcome, Trained):
            self._end()
            return None
        self._taken.copy_(self._update)
        if self._has_grown():
            self._end()
        return self._taken, outcome

    def close(self) -> None:
        """End the process. The next training starts another."""
        self._end()

    def _start(self) -> Ready:
        taken, self._orders = _FORK.Pipe(duplex=False)
        self._reports, given = _FORK.Pipe(duplex=False)
        parts = (taken, given, self._make, self._vector, self._update, self._budget)
        process = _FORK.Process(target=serve, args=parts, name="speakers", daemon=True)
        process.start()
        taken.close()
        given.close()
        self._process = process
        self._arrived = select.poll()
        self._arrived.register(self._reports.fileno(), select.POLLIN)
        try:
            ready = self._outcome(self._start_seconds, _Order(0, _Clock.of(process)))
        except (EOFError, OSError):
            raise RuntimeError(f"the speaker process cannot start: {self._end()}") from None
        if not isinstance(ready, Ready):
            self._end()
            raise ready.error if isinstance(ready, Failed) else RuntimeError(f"no report: {ready!r}")
        self._data_bytes = data_bytes(self._process.pid)
        return ready

    def _has_grown(self) -> bool:
        """Whether earlier speakers left so much memory in use that it changes what the next one has."""
        allowed = KEPT_SHARE * self._budget.memory_megabytes * MEGABYTE
        return self._process is not None and data_bytes(self._process.pid) > self._data_bytes + allowed

    def _outcome(self, seconds: float, order: _Order) -> Report:
        """The report of the process on an order.

        Raises:
            EOFError: If the process took longer than `seconds`, or sent what is no report on this; it is
                ended. (One that takes longer stands still: the kernel ends one that computes for so long.)
        """
        process, frame, warned = self._process, b"", False
        if process is None:
            raise EOFError
        while len(frame) < FRAME_BYTES:
            if self._arrived.poll(1000 * POLL_SECONDS):
                piece = os.read(self._reports.fileno(), FRAME_BYTES - len(frame))
                if not piece:
                    raise EOFError
                frame += piece
            if len(frame) == FRAME_BYTES:
                continue
            if order.began.seconds_to(_Clock.of(process)) > seconds + POLL_SECONDS:
                # A process can ignore every signal but the last.
                _end_with(process, signal.SIGKILL if warned else STANDSTILL)
                warned = True
        try:
            return decode(frame, order.number)
        except ValueError as error:
            log.error("the speaker process sent what is no report: %s", error)
            raise EOFError from None

    def _end(self) -> str:
        """End the process; return how it ended, in words."""
        process, self._process, self._awaited = self._process, None, None
        if process is None:
            return "it was ended"
        self._orders.close()
        self._reports.close()
        process.join(_END_SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join()
        return self._words(process.exitcode or 0)

    def _words(self, code: int) -> str:
        if code in (-signal.SIGPROF, -STANDSTILL):
            done = "computed" if code == -signal.SIGPROF else "stood still"
            return (
                f"it {done} for more than the {self._budget.processor_seconds:g} seconds that "
                "local.processor-seconds allows a speaker in a round"
            )
        if code < 0:
            known = -code in {one.value for one in signal.Signals}
            name = signal.Signals(-code).name if known else str(-code)
            return f"the process died of signal {name} (memory, a decoder, or a kill)"
        return f"the process ended with code {code}"


def _end_with(process: BaseProcess, reason: signal.Signals) -> None:
    if process.pid is not None:
        os.kill(process.pid, reason)


def _shared(size: int) -> Tensor:
    """Zeros (size,) float32 that a fork shares, in memory that the size of /dev/shm does not limit."""
    return torch.frombuffer(mmap.mmap(-1, max(4 * size, 1)), dtype=torch.float32)[:size]


@dataclass(frozen=True, kw_only=True)
class _Clock:
    """Seconds of the clock, and how many of them a process waited for a processor."""

    now: float
    waited: float

    @classmethod
    def of(cls, process: BaseProcess | None) -> _Clock:
        """The clock now; where the kernel has no /proc/PID/schedstat, no waiting is counted."""
        try:
            _, nanoseconds, _ = of_process(process.pid if process and process.pid else 0, "schedstat").split()
        except (OSError, ValueError):
            nanoseconds = b"0"
        return cls(now=time.monotonic(), waited=int(nanoseconds) * 1e-9)

    def seconds_to(self, later: _Clock) -> float:
        """Seconds in between in which the process computed or stood still."""
        return later.now - self.now - max(0.0, later.waited - self.waited)


@dataclass(frozen=True)
class _Order:
    """An order that the process got: its number, which the report on it repeats, and when. 0 is its start."""

    number: int
    began: _Clock
