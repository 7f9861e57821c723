"""The process in which speakers are trained: what one of them does to it costs the others nothing.

A node's own process decodes no audio (of files whose length no table gives it reads the headers, when the
corpus is loaded) and trains nobody. It forks this one, which trains one speaker at a time into memory that
both share, and takes each update out itself. So whatever a speaker's speech does (a decoder that crashes, a
recording that never ends, memory without end), it does here, during that speaker's visit.

Guarantee: the outcome of a visit is the speaker's update, or nothing where it failed, died or used up the
`SpeakerBudget`. The parent takes the update into memory of its own before anybody looks at it, and reads
answers as frames of numbers (`client.training.process_messages`): a process that a sound file has taken over,
and that goes on writing, changes nothing that was measured, and sends no object. A process in which a visit
went wrong, or that has grown by more than `KEPT_SHARE` of a visit's memory, is replaced by another fork of
the same parent, which warms up on noise, so that its first visit is hardly dearer than the next. Time is a
processor's and that of standing still, not that of waiting for a processor, which depends on others.

What is not covered. A process that was taken over trains the speakers after it as well, until it is
replaced, and has the rights of the user that runs it. Visits before this one decide about it only where it is
at the edge of its budget: within `KEPT_SHARE` of its memory, or within what full and empty caches change of
its time. And the machine itself: a parent that is killed loses its node's sum, and where processors are
overloaded a visit within its budget can take longer than anybody waits (docs/privacy.md).
"""

from __future__ import annotations

import logging
import math
import mmap
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from client.training.process_messages import FRAME_BYTES, Failed, Ready, Said, Trained, decode, encode
from client.training.speaker_round import SpeakerRound

__all__ = ["KEPT_SHARE", "MakeTraining", "Ready", "SpeakerBudget", "SpeakerProcess", "Trained", "Training"]

log = logging.getLogger("murmuration.client")

LOOK_SECONDS = 1.0
KEPT_SHARE = 1 / 8
"""Share of a visit's memory by which a process may have grown when the next visit begins."""
_END_SECONDS = 5.0
_PATIENCE = 10  # how many times as long as the first start another may take before it is given up
_LEAST_PATIENCE_SECONDS = 30.0
_STANDSTILL = signal.SIGALRM  # what ends a process that stands still
_FORK = multiprocessing.get_context("fork")
_MEGABYTE = 1024**2


@dataclass(frozen=True, kw_only=True)
class SpeakerBudget:
    """What one visit may use: seconds of computing or standing still, and megabytes of memory beyond what the
    process had before its first visit."""

    processor_seconds: float
    memory_megabytes: int


class Training(Protocol):
    """What runs in the process."""

    frozen: str  # digest of the parameters that are not trained

    def warm_up(self) -> float:
        """Do once what only the first visit would have to do; returns how many seconds of a processor the
        longest visit that is allowed takes here."""

    def visit(self, visit: SpeakerRound, split: str, vector: Tensor, correction: Tensor | None) -> Trained:
        """Train the speaker of `visit` from `vector` (d,); the update goes to the memory it was made with."""


MakeTraining = Callable[[Tensor], Training]
"""Makes it in the process, with the memory (room,) that updates go to."""


class SpeakerProcess:
    """The parent's end: a process that is there whenever it is asked for.

    Args:
        size: Length d of the model's vector.
        room: Length of an update: d, and what is behind it, which stays zero.

    Raises:
        Exception: What `make` raised in the process, where its kind is one of
            `client.training.process_messages.ERRORS`; else `RuntimeError`.
    """

    def __init__(self, make: MakeTraining, *, size: int, room: int, budget: SpeakerBudget) -> None:
        self._make, self._budget = make, budget
        self._vector, self._update = _shared(size), _shared(room)
        self._taken = torch.zeros(room)  # the update as it was when its visit ended; no other process has it
        self._process: BaseProcess | None = None
        self._orders: Connection
        self._answers: Connection
        self._data_bytes = 0  # of the process, before its first visit
        self._start_seconds = math.inf
        began = time.monotonic()
        self.ready = self._start()
        self._start_seconds = max(_LEAST_PATIENCE_SECONDS, _PATIENCE * (time.monotonic() - began))

    def load(self, vector: Tensor) -> None:
        """Let `vector` (d,) be the model that the next visits begin with."""
        self._vector.copy_(vector)

    def train(
        self, visit: SpeakerRound, split: str, correction: Tensor | None = None
    ) -> tuple[Tensor, Trained] | None:
        """Train one speaker; None if the speaker counts as zero, for which the log has the reason.

        The update (room,) is memory of this process alone, overwritten by the next visit.
        """
        try:
            if self._process is not None and self._answers.poll():
                self._end()  # it died since, or answers what it was not asked
            if self._process is None:
                self._start()
            self._orders.send((visit, split, correction))
            outcome = self._outcome(self._budget.processor_seconds)
        except (EOFError, OSError):
            log.error("a speaker counts as zero: %s", self._end())
            return None
        except Exception:  # no process can be had now: what was added before is still sent
            log.exception("a speaker counts as zero")
            return None
        if not isinstance(outcome, Trained):
            self._end()
            return None
        self._taken.copy_(self._update)
        if self._has_grown():
            self._end()
        return self._taken, outcome

    def close(self) -> None:
        """End the process. The next visit would start another."""
        self._end()

    def _start(self) -> Ready:
        taken, self._orders = _FORK.Pipe(duplex=False)
        self._answers, given = _FORK.Pipe(duplex=False)
        parts = (taken, given, self._make, self._vector, self._update, self._budget)
        self._process = _FORK.Process(target=_serve, args=parts, name="speakers", daemon=True)
        self._process.start()
        taken.close()
        given.close()
        try:
            ready = self._outcome(self._start_seconds)
        except (EOFError, OSError):
            raise RuntimeError(f"the process that trains speakers cannot start: {self._end()}") from None
        if not isinstance(ready, Ready):
            self._end()
            raise ready.error if isinstance(ready, Failed) else RuntimeError(f"no answer: {ready!r}")
        self._data_bytes = _data_bytes(self._process.pid)
        return ready

    def _has_grown(self) -> bool:
        """Whether visits left so much behind that the next one's memory would be another."""
        allowed = KEPT_SHARE * self._budget.memory_megabytes * _MEGABYTE
        return self._process is not None and _data_bytes(self._process.pid) > self._data_bytes + allowed

    def _outcome(self, seconds: float = math.inf) -> Said:
        """What the process says next. One that takes longer is ended, and `EOFError` says so: it stands
        still, for the kernel ends one that computes as long. So is one that says what is no answer."""
        process, began, frame, warned = self._process, _Clock.of(self._process), b"", False
        while len(frame) < FRAME_BYTES:
            if self._answers.poll(LOOK_SECONDS):
                piece = os.read(self._answers.fileno(), FRAME_BYTES - len(frame))
                if not piece:
                    raise EOFError
                frame += piece
            if len(frame) == FRAME_BYTES or process is None:
                continue
            if began.seconds_to(_Clock.of(process)) > seconds + LOOK_SECONDS:
                # A process may ignore every signal but the last.
                _end_with(process, signal.SIGKILL if warned else _STANDSTILL)
                warned = True
        try:
            return decode(frame)
        except ValueError as error:
            log.error("the process of the speakers sends what is no answer: %s", error)
            raise EOFError from None

    def _end(self) -> str:
        """End the process; returns how it ended, in words."""
        process, self._process = self._process, None
        if process is None:
            return "it was ended"
        self._orders.close()
        self._answers.close()
        process.join(_END_SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join()
        return self._words(process.exitcode or 0)

    def _words(self, code: int) -> str:
        if code in (-signal.SIGPROF, -_STANDSTILL):
            done = "computed" if code == -signal.SIGPROF else "stood still"
            return (
                f"it {done} for more than the {self._budget.processor_seconds:g} seconds that "
                "local.processor-seconds gives a speaker in a round"
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
    """Zeros (size,) float32 that a fork shares, in memory that no mount of /dev/shm bounds."""
    return torch.frombuffer(mmap.mmap(-1, max(4 * size, 1)), dtype=torch.float32)[:size]


@dataclass(frozen=True, kw_only=True)
class _Clock:
    """Seconds of the clock, and those of them in which a process waited for a processor."""

    now: float
    waited: float

    @classmethod
    def of(cls, process: BaseProcess | None) -> _Clock:
        """Without the kernel's word (/proc/PID/schedstat), no second was waited."""
        try:
            _, nanoseconds, _ = Path(f"/proc/{process.pid if process else 0}/schedstat").read_text().split()
        except (OSError, ValueError):
            nanoseconds = "0"
        return cls(now=time.monotonic(), waited=int(nanoseconds) * 1e-9)

    def seconds_to(self, later: _Clock) -> float:
        """How long the process computed or stood still in between."""
        return later.now - self.now - max(0.0, later.waited - self.waited)


# --- In the process --------------------------------------------------------------------------------


def _serve(
    orders: Connection,
    answers: Connection,
    make: MakeTraining,
    vector: Tensor,
    update: Tensor,
    budget: SpeakerBudget,
) -> None:
    """Visit whom the parent names, until it goes away."""
    _leave_the_parents_files(orders.fileno(), answers.fileno())
    _be_the_first_to_go()
    _leave_no_core()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends, and then this
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for fatal in (signal.SIGPROF, _STANDSTILL):
        signal.signal(fatal, signal.SIG_DFL)
    torch.set_num_threads(1)
    try:
        training = make(update)
        ready = Ready(frozen=training.frozen, longest_seconds=training.warm_up())
    except Exception as error:
        _say(answers, Failed(error=error))
        return
    most = _data_bytes() + budget.memory_megabytes * _MEGABYTE
    _say(answers, ready)
    while True:
        try:
            visit, split, correction = orders.recv()
        except EOFError:
            return
        _bound_memory(most)
        trained = _visit(training, visit, split, vector, correction, budget)
        _say(answers, trained)
        if trained is None:
            return  # whatever the visit left behind goes with this process


def _say(answers: Connection, said: Said) -> None:
    os.write(answers.fileno(), encode(said))  # a frame is written in one piece


def _visit(
    training: Training,
    visit: SpeakerRound,
    split: str,
    vector: Tensor,
    correction: Tensor | None,
    budget: SpeakerBudget,
) -> Trained | None:
    """One visit within the budget. Beyond its processor time the kernel ends this process."""
    signal.setitimer(signal.ITIMER_PROF, budget.processor_seconds)
    try:
        return training.visit(visit, split, vector, correction)
    except Exception:  # one speaker's trouble must not cost the others their round
        log.exception("a speaker could not be trained and counts as zero")
        return None
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _bound_memory(size: int) -> None:
    """Let allocations fail beyond so many bytes of data; where the kernel can count them."""
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    if _data_bytes():
        resource.setrlimit(resource.RLIMIT_DATA, (size if most < 0 else min(size, most), most))


def _data_bytes(process: int | None = None) -> int:
    """The private memory of a process that `RLIMIT_DATA` bounds, by default of this one; 0 if unknown."""
    try:
        pages = Path(f"/proc/{process or 'self'}/statm").read_text().split()[5]
    except OSError:
        return 0
    return int(pages) * resource.getpagesize()


def _be_the_first_to_go() -> None:
    """Where the machine's memory ends, the kernel shall end this process and not the parent."""
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError:
        log.warning("the kernel cannot be told to end this process first where memory is short")


def _leave_no_core() -> None:
    """A crash shall not write this memory, which holds speech, to a disk, nor take time and room for it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _leave_the_parents_files(*kept: int) -> None:
    """Let go of the parent's connections and locks, which would seem alive as long as this process is.

    Their numbers stay taken, for objects copied from the parent still close them.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in [int(name) for name in os.listdir("/dev/fd")]:
        if number > 2 and number not in (*kept, nothing):
            try:
                os.dup2(nothing, number, inheritable=False)
            except OSError:  # the listing's own
                continue
