"""The process in which speakers are trained: what one of them does to it costs the others nothing.

A node's own process decodes no audio (of files whose length no table gives it reads the headers, when the
corpus is loaded) and trains nobody. It forks this one, which trains one speaker at a time into memory that
both share, and takes each update out itself. So whatever a speaker's speech does (a decoder that crashes, a
recording that never ends, memory without end), it does here, during that speaker's visit.

Guarantee: the outcome of a visit is the speaker's update, or nothing where it failed, died or used up the
`VisitBudget`. A process in which a visit went wrong, or that has grown by more than `KEPT_SHARE` of a visit's
memory, is replaced by another fork of the same parent, which warms up on noise, so that its first visit is
hardly dearer than the next. Time is a processor's and that of standing still, not that of waiting for a
processor, which depends on others.

What is not covered. Visits before this one decide about it only where it is at the edge of its budget: within
`KEPT_SHARE` of its memory, or within what full and empty caches change of its time. And the machine itself: a
parent that is killed loses its node's sum, and where processors are overloaded a visit within its budget can
take longer than anybody waits (docs/privacy.md).
"""

from __future__ import annotations

import logging
import math
import mmap
import multiprocessing
import os
import pickle
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

from client.visit import Visit

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
class VisitBudget:
    """What one visit may use: seconds of computing or standing still, and megabytes of memory beyond what the
    process had before its first visit."""

    processor_seconds: float
    memory_megabytes: int


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a visit says beside the update: the mean loss, and the number of steps."""

    loss: float
    steps: int


class Training(Protocol):
    """What runs in the process."""

    frozen: str  # digest of the parameters that are not trained

    def warm_up(self) -> float:
        """Do once what only the first visit would have to do; returns how many seconds of a processor the
        longest visit that is allowed takes here."""

    def visit(self, visit: Visit, split: str, vector: Tensor, correction: Tensor | None) -> Trained:
        """Train the speaker of `visit` from `vector` (d,); the update goes to the memory it was made with."""


@dataclass(frozen=True, kw_only=True)
class Ready:
    """What a process says when it can be asked: the digest of what is not trained, and how many seconds of a
    processor the longest visit that is allowed takes."""

    frozen: str
    longest_seconds: float


MakeTraining = Callable[[Tensor], Training]
"""Makes it in the process, with the memory (room,) that updates go to."""


class SpeakerProcess:
    """The parent's end: a process that is there whenever it is asked for.

    Parameters
    ----------
    size
        Length d of the model's vector.
    room
        Length of an update: d, and what is behind it, which stays zero.

    Raises
    ------
    Exception
        What `make` raised in the process, if it can tell; else `RuntimeError`.
    """

    def __init__(self, make: MakeTraining, *, size: int, room: int, budget: VisitBudget) -> None:
        self._make, self._budget = make, budget
        self._vector, self._update = _shared(size), _shared(room)
        self._process: BaseProcess | None = None
        self._pipe: Connection
        self._data_bytes = 0  # of the process, before its first visit
        self._start_seconds = math.inf
        began = time.monotonic()
        self.ready = self._start()
        self._start_seconds = max(_LEAST_PATIENCE_SECONDS, _PATIENCE * (time.monotonic() - began))

    def load(self, vector: Tensor) -> None:
        """Let `vector` (d,) be the model that the next visits begin with."""
        self._vector.copy_(vector)

    def train(
        self, visit: Visit, split: str, correction: Tensor | None = None
    ) -> tuple[Tensor, Trained] | None:
        """Train one speaker; None if the speaker counts as zero, for which the log has the reason.

        The update (room,) is overwritten by the next visit.
        """
        try:
            if self._process is None:
                self._start()
            self._pipe.send((visit, split, correction))
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
        if self._has_grown():
            self._end()
        return self._update, outcome

    def close(self) -> None:
        """End the process. The next visit would start another."""
        self._end()

    def _start(self) -> Ready:
        self._pipe, theirs = _FORK.Pipe()
        parts = (theirs, self._make, self._vector, self._update, self._budget)
        self._process = _FORK.Process(target=_serve, args=parts, name="speakers", daemon=True)
        self._process.start()
        theirs.close()
        try:
            ready = self._outcome(self._start_seconds)
        except (EOFError, OSError):
            raise RuntimeError(f"the process that trains speakers cannot start: {self._end()}") from None
        if not isinstance(ready, Ready):
            self._end()
            raise ready if isinstance(ready, BaseException) else RuntimeError(f"no answer: {ready!r}")
        self._data_bytes = _data_bytes(self._process.pid)
        return ready

    def _has_grown(self) -> bool:
        """Whether visits left so much behind that the next one's memory would be another."""
        allowed = KEPT_SHARE * self._budget.memory_megabytes * _MEGABYTE
        return self._process is not None and _data_bytes(self._process.pid) > self._data_bytes + allowed

    def _outcome(self, seconds: float = math.inf) -> object:
        """What the process says next. One that takes longer is ended, and `EOFError` says so: it stands
        still, for the kernel ends one that computes as long."""
        process, began = self._process, _Clock.of(self._process)
        while not self._pipe.poll(LOOK_SECONDS):
            if process is not None and began.seconds_to(_Clock.of(process)) > seconds + LOOK_SECONDS:
                _end_with(process, _STANDSTILL)
        return self._pipe.recv()

    def _end(self) -> str:
        """End the process; returns how it ended, in words."""
        process, self._process = self._process, None
        if process is None:
            return "it was ended"
        self._pipe.close()
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
            return f"the process died of signal {signal.Signals(-code).name} (memory, a decoder, or a kill)"
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


def _serve(pipe: Connection, make: MakeTraining, vector: Tensor, update: Tensor, budget: VisitBudget) -> None:
    """Visit whom the parent names, until it goes away."""
    _leave_the_parents_files(pipe.fileno())
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
        pipe.send(_as_sent(error))
        return
    most = _data_bytes() + budget.memory_megabytes * _MEGABYTE
    pipe.send(ready)
    while True:
        try:
            visit, split, correction = pipe.recv()
        except EOFError:
            return
        _bound_memory(most)
        trained = _visit(training, visit, split, vector, correction, budget)
        pipe.send(trained)
        if trained is None:
            return  # whatever the visit left behind goes with this process


def _visit(
    training: Training,
    visit: Visit,
    split: str,
    vector: Tensor,
    correction: Tensor | None,
    budget: VisitBudget,
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


def _leave_the_parents_files(kept: int) -> None:
    """Let go of the parent's connections and locks, which would seem alive as long as this process is.

    Their numbers stay taken, for objects copied from the parent still close them.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in [int(name) for name in os.listdir("/dev/fd")]:
        if number > 2 and number not in (kept, nothing):
            try:
                os.dup2(nothing, number, inheritable=False)
            except OSError:  # the listing's own
                continue


def _as_sent(error: Exception) -> Exception:
    """`error`, or its text where it cannot travel."""
    try:
        return error if type(pickle.loads(pickle.dumps(error))) is type(error) else RuntimeError(str(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
