"""The workers of a simulation: each gets several jobs in a call, and one that dies is replaced.

This knows Ray and nothing of Flower; `client.simulation.flower_seam` puts it into Flower's engine.
"""

from __future__ import annotations

import itertools
import threading
import time
from bisect import insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import ObjectLostError, RayActorError, RayError

PAUSE_SECONDS = 1.0  # between two attempts to start a worker
SHARE = 2  # a call takes at most a worker's part of what waits, divided by this
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
    priority: tuple[
        int, int
    ]  # the smallest is first: minus the number of speakers, then the order of arrival
    job: Job = field(compare=False)
    alone: bool = field(compare=False, default=False)  # in a call of its own, for a worker died with it

    def fits(self, left: int) -> bool:
        """Whether it may be behind others in a call that has room for so many speakers."""
        return not self.alone and self.job.size <= left


class Workers:
    """Ray actors that do the jobs of a call one after the other, and give each result when it is there.

    Guarantee: a call goes to a worker that has just answered. If the worker dies, only the job that it was at
    can be lost. If one job has no result, it was at that one. If several have none, each is done once more,
    in a call of its own, and is lost if that worker dies too. Another worker joins as soon as Ray has room
    for it, on any Ray node. A job that no worker began by its due time is lost.

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
            while jobs := self._jobs():
                if not self._do(worker, jobs):
                    break
            self.present.remove(worker)

    def _jobs(self) -> list[Job]:
        """The jobs of the next call, once there are any; none at the end."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or not self._open)
                if not self._open:
                    return []
                taken = self._taken()
                if self._waiting:  # also what was divided off: another worker may be idle
                    self._changed.notify()
            jobs = []
            for job in taken:
                if job.due > time.time():
                    jobs.append(job)
                else:
                    job.done(WorkerLost("no worker became free in time"))
            if jobs:
                return jobs

    def _taken(self) -> list[Job]:
        """Take the first of the waiting jobs, or a part of it, and behind it as many as a call may have."""
        left = -(-sum(one.job.size for one in self._waiting) // (SHARE * self._count))
        taken: list[Job] = []
        if self._waiting and self._waiting[0].alone:
            return [self._waiting.pop(0).job]
        while self._waiting and (not taken or self._waiting[0].fits(left)):
            job = self._waiting.pop(0).job
            if job.divide is not None and job.size > DIVIDED_FROM * left:
                job, rest = job.divide(left)
                self._insert(rest)
            left -= job.size
            taken.append(job)
        return taken

    def _do(self, worker: Any, jobs: Sequence[Job]) -> bool:
        """Have a worker do these jobs; returns whether it is still there."""
        if not _answers(worker):
            self._give_back(jobs)
            return False
        results, left = None, list(jobs)
        while left:
            try:
                results = results or self._ask(worker, [job.work for job in jobs])
                result = next(results)
            except (RayActorError, ObjectLostError):
                if len(left) == 1:
                    left.pop().done(WorkerLost("the worker with this job died"))
                self._give_back(left, alone=True)
                return False
            except Exception as error:  # a fault of the call, and so of all that it has not answered
                for job in left:
                    job.done(error)
                return True
            left.pop(0).done(result)
        return True

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
