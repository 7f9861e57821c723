"""The workers of a simulation: each gets several jobs in a call, and one that dies is replaced.

This knows Ray and nothing of Flower; `client.simulation.flower_seam` puts it into Flower's engine.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.exceptions import ObjectLostError, RayActorError, RayError

PAUSE_SECONDS = 1.0  # between two attempts to start a worker
SHARE = 2  # a call takes at most a worker's part of what waits, divided by this
LEAST_BEHIND = 2  # speakers: a call that may have fewer goes to the worker that is free first
AHEAD_SECONDS = 0.3  # that a call may wait behind another: the worker may be slower than others
DIVIDED_FROM = 1.5  # a job is divided that has so many times the speakers that a call may take


class WorkerLost(Exception):
    """A job has no result: no worker became free in time, or its worker died."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job for a worker.

    Attributes:
        work: What the worker gets.
        speakers: How many speakers the job trains.
        due: The time (Unix) until which the result is wanted.
        done: Called once, on any thread, with the result, or with the exception in its place.
        divide: Makes two jobs of it, of which the first trains so many speakers; None if one worker gets it.
    """

    work: Any
    speakers: int
    due: float
    done: Callable[[Any], None]
    divide: Callable[[int], tuple[Job, Job]] | None = None

    @property
    def size(self) -> int:
        """What the job counts beside others."""
        return max(1, self.speakers)


@dataclass(frozen=True, order=True)
class _Waiting:
    priority: tuple[int, int]  # the smallest is first: minus the speakers, then the order of arrival
    job: Job = field(compare=False)
    alone: bool = field(compare=False, default=False)  # in a call of its own, for a worker died with it

    def fits(self, left: int) -> bool:
        """Whether it may be behind others in a call that has room for so many speakers."""
        return not self.alone and self.job.size <= left


@dataclass
class _Call:
    results: Iterator[Any]
    left: list[Job]  # without a result
    alone: bool


class _Pace:
    """How long a worker takes for a speaker, by its answers in its present call, or else in the call before.

    Attributes:
        seconds: For each speaker; infinite before the first answer.
    """

    def __init__(self) -> None:
        self.seconds = math.inf
        self.begin()

    def begin(self) -> None:
        """The worker begins a call."""
        self._began, self._speakers = time.monotonic(), 0

    def count(self, job: Job) -> None:
        """The worker has answered a job of the call."""
        self._speakers += job.size
        self.seconds = (time.monotonic() - self._began) / self._speakers


class Workers:
    """Ray actors that do the jobs of a call one after the other, and give each result when it is there.

    Guarantee: a call goes to a worker that has just answered, or waits behind the last `AHEAD_SECONDS` of the
    call that the worker is at, so that the worker need not wait for it. If the worker dies, only the job that
    it was at can be lost. If one job has no result, it was at that one. If several have none, those of the
    call that it was at are each done once more, in a call of its own with none behind it, and are lost if
    that worker dies too. Another worker joins as soon as Ray has room for it, on any Ray node. A job that no
    worker got by its due time is lost.

    The job with the most speakers is first. A call takes a part of the jobs that wait, and so less and less:
    no round ends with one worker at many jobs, or at a long one, and the others without work.

    Args:
        create: Starts a Ray actor.
        ask: Has an actor do jobs, of which it gets the work; returns the results in that order.
    """

    def __init__(self, create: Callable[[], Any], ask: Callable[[Any, Sequence[Any]], Iterator[Any]]) -> None:
        self._create, self._ask = create, ask
        self._changed = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._arrivals = itertools.count()
        self._open = True
        self._count = 0
        self.present: list[Any] = []

    def start(self, count: int) -> None:
        """Start `count` workers; each joins when it answers."""
        self._count += count
        for _ in range(count):
            threading.Thread(target=self._serve, daemon=True).start()

    def stop(self) -> None:
        """Give no more jobs to workers, and let none join."""
        with self._changed:
            self._open = False
            self._changed.notify_all()

    def add(self, job: Job) -> None:
        """Have one of the workers do a job."""
        with self._changed:
            self._insert(job)
            self._changed.notify()

    def _insert(self, job: Job, *, alone: bool = False) -> None:
        insort(self._waiting, _Waiting((-job.speakers, next(self._arrivals)), job, alone))

    def _serve(self) -> None:
        """Keep one worker busy, and start another in its place when it is lost."""
        while self._open:
            worker = self._create()
            if not _answers(worker):
                time.sleep(PAUSE_SECONDS)
                continue
            self.present.append(worker)
            while self._wait() and self._keep_busy(worker):
                pass
            self.present.remove(worker)

    def _wait(self) -> bool:
        """Wait until there are jobs; returns False at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._open)
            return self._open

    def _keep_busy(self, worker: Any) -> bool:
        """Have a worker do jobs as long as any wait; returns whether it is still there."""
        if not _answers(worker):
            self._give_back([])  # the job for which this thread woke, and another worker may be idle
            return False
        calls: deque[_Call] = deque()
        pace = _Pace()
        self._fill(worker, calls, pace)
        while calls:
            call = calls[0]
            try:
                result = next(call.results)
            except (RayActorError, ObjectLostError):
                self._lose(calls)
                return False
            except Exception as error:  # a fault of the call, and so of all that it has not answered
                calls.popleft()
                for job in call.left:
                    job.done(error)
                pace.begin()
                self._fill(worker, calls, pace)
                continue
            job = call.left.pop(0)
            pace.count(job)
            if not call.left:
                calls.popleft()
                pace.begin()
            self._fill(worker, calls, pace)  # first: to take the result takes time, and the worker goes on
            job.done(result)
            del job, result  # a large model's, else kept until the next is there
        return True

    def _fill(self, worker: Any, calls: deque[_Call], pace: _Pace) -> None:
        """Make the next call, and one behind it if it soon ends, if so many jobs wait."""
        while len(calls) < 2:
            behind = calls[0] if calls else None
            if behind and pace.seconds * sum(job.size for job in behind.left) > AHEAD_SECONDS:
                return
            if not (jobs := self._jobs(behind=behind)):
                return
            try:
                results = self._ask(worker, [one.job.work for one in jobs])
            except Exception as error:
                results = _raising(error)
            calls.append(_Call(results, [one.job for one in jobs], alone=jobs[0].alone))

    def _jobs(self, *, behind: _Call | None) -> list[_Waiting]:
        """The jobs of the next call, if there are any for it now; those whose time is over are lost."""
        while True:
            with self._changed:
                taken = self._taken() if behind is None else self._taken_behind(behind)
                if self._waiting:  # also what was divided off: another worker may be idle
                    self._changed.notify()
            now = time.time()
            for one in taken:
                if one.job.due <= now:
                    one.job.done(WorkerLost("no worker became free in time"))
            jobs = [one for one in taken if one.job.due > now]
            if jobs or not taken:
                return jobs

    def _share(self) -> int:
        """How many speakers a call may have now."""
        return -(-sum(one.job.size for one in self._waiting) // (SHARE * self._count))

    def _taken_behind(self, call: _Call) -> list[_Waiting]:
        """Take jobs for a call behind `call`, but none that another worker should rather get."""
        share = self._share()
        if call.alone or share < LEAST_BEHIND:
            return []
        first = self._waiting[0]
        fits = first.fits(share) or (first.job.divide is not None and not first.alone)
        return self._taken() if fits else []

    def _taken(self) -> list[_Waiting]:
        """Take the first of the waiting jobs, or a part of it, and behind it as many as a call may have."""
        left = self._share()
        taken: list[_Waiting] = []
        if not self._open:
            return []
        if self._waiting and self._waiting[0].alone:
            return [self._waiting.pop(0)]
        while self._waiting and (not taken or self._waiting[0].fits(left)):
            one = self._waiting.pop(0)
            if one.job.divide is not None and one.job.size > DIVIDED_FROM * left:
                job, rest = one.job.divide(left)
                self._insert(rest)
                one = replace(one, job=job)
            left -= one.job.size
            taken.append(one)
        return taken

    def _lose(self, calls: Sequence[_Call]) -> None:
        """Lose the job that killed a worker if it is certain which it was; let the others be done again."""
        begun, *behind = calls
        if len(begun.left) == 1 and not behind:
            begun.left.pop().done(WorkerLost("the worker with this job died"))
        self._give_back(begun.left, alone=True)
        for call in behind:
            self._give_back(call.left)

    def _give_back(self, jobs: Sequence[Job], *, alone: bool = False) -> None:
        with self._changed:
            for job in jobs:
                self._insert(job, alone=alone)
            self._changed.notify_all()


def _answers(worker: Any) -> bool:
    """Whether `worker` answers. For a new worker this waits until Ray has room for it."""
    try:
        ray.get(worker.__ray_ready__.remote())
    except RayError:
        return False
    return True


def _raising(error: Exception) -> Iterator[Any]:
    """The results of a call that could not be made."""
    raise error
    yield
