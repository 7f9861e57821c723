"""The workers of a simulation: the next job goes to a free one, and one that dies is replaced.

This knows Ray and nothing of Flower; `client.simulation.flower_seam` puts it into Flower's engine.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import ObjectLostError, RayActorError, RayError

PAUSE_SECONDS = 1.0  # between two attempts to start a worker

Priority = tuple[int, int]  # the smallest is first: minus the number of speakers, then the order of arrival


class WorkerLost(Exception):
    """A job has no result: no worker became free in time, or its worker died."""


class Workers:
    """Ray actors that do one job at a time.

    Guarantee: a job goes to a worker that has just answered. If the worker dies, that job alone is lost, and
    another worker joins as soon as Ray has room for it, on any Ray node. A job waits for a worker until its
    due time at most. Among waiting jobs, the one with the most speakers is first, so that no round ends with
    one worker at a long job and the others without work.

    Args:
        create: Starts a Ray actor.
    """

    def __init__(self, create: Callable[[], Any]) -> None:
        self._create = create
        self._changed = threading.Condition()
        self._waiting: list[Priority] = []
        self._arrivals = itertools.count()
        self._open = True
        self.free: list[Any] = []

    def start(self, count: int) -> None:
        """Start `count` workers; each joins when it answers."""
        for _ in range(count):
            self._start_another()

    def stop(self) -> None:
        """Let no worker join from now on."""
        self._open = False

    def do(self, job: Callable[[Any], Any], *, speakers: int, due: float) -> Any:
        """Have the next free worker do a job, and wait for the result.

        Args:
            job: Starts the job on a worker; returns Ray's reference to the result.
            speakers: How many speakers the job trains.
            due: The time (Unix) until which the result is wanted.

        Raises:
            WorkerLost: If no worker became free in time, or the worker died.
            Exception: What the job raised.
        """
        worker = self._free_worker((-speakers, next(self._arrivals)), due)
        if worker is None:
            raise WorkerLost("no worker became free in time")
        try:
            result = ray.get(job(worker))
        except (RayActorError, ObjectLostError):
            self._start_another()
            raise WorkerLost("the worker with this job died") from None
        except Exception:
            self.join(worker)
            raise
        self.join(worker)
        return result

    def join(self, worker: Any) -> None:
        """Add a worker that is free."""
        with self._changed:
            self.free.append(worker)
            self._changed.notify_all()

    def _free_worker(self, priority: Priority, due: float) -> Any | None:
        """A free worker that answers, or None if it is not this job's turn before the time `due`."""
        while True:
            with self._changed:
                self._waiting.append(priority)
                left = max(0.0, due - time.time())
                found = self._changed.wait_for(
                    lambda: self.free and priority == min(self._waiting), timeout=left
                )
                worker = self.free.pop() if found else None
                self._waiting.remove(priority)
                self._changed.notify_all()
            if worker is None or _answers(worker):
                return worker
            self._start_another()

    def _start_another(self) -> None:
        threading.Thread(target=self._start, daemon=True).start()

    def _start(self) -> None:
        while self._open:
            worker = self._create()
            if _answers(worker):
                self.join(worker)
                return
            time.sleep(PAUSE_SECONDS)


def _answers(worker: Any) -> bool:
    """Whether `worker` answers. For a new worker this waits until Ray has room for it."""
    try:
        ray.get(worker.__ray_ready__.remote())
    except RayError:
        return False
    return True
