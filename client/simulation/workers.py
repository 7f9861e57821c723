"""The workers of a simulation: one that dies is replaced, and what it was doing is all that is lost.

Flower's own pool hands a dead Ray actor out again, and whatever it is given from then on fails with it. It
also gives nodes their turn in the order of their numbers, however many speakers each is to train, so that at
a round's end one worker may have a long visit and the others none. `client.app` puts `LastingPool` in its
place wherever Flower simulates.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import ray
from flwr.app import Context, Error, Message
from flwr.server.superlink.fleet.vce.backend import raybackend
from flwr.simulation.ray_transport.ray_actor import BasicActorPool
from ray.exceptions import ObjectLostError, RayActorError, RayError

from client.simulation.actor import WorkerActor

CLIENT_APP_CRASHED = 8  # Flower's ErrorCode for a node whose ClientApp died; a deployment's is the same
PAUSE_SECONDS = 1.0  # between two attempts to start a worker
JOBS_TO_CHOOSE_FROM = 3  # for each worker

Job = tuple[Callable[[], Any], Message, str, Context]
Submitted = tuple[Callable[..., Any], Job]
Turn = tuple[int, int]  # the smallest comes first: speakers, negative, and how many came before


class LastingPool(BasicActorPool):  # type: ignore[misc]  # flwr is untyped for us
    """Ray actors that do one job at a time, as many as the cluster has room for.

    A free worker takes the job with the most speakers of those that wait. Guarantee: a job is given to a
    worker that has just answered. If the worker dies at it, the answer is an error and nobody else's is;
    another worker joins as soon as Ray has room for it, on whatever Ray node. A job waits for a worker no
    longer than somebody waits for its answer.
    """

    def __init__(self, actor_type: Any, client_resources: Any, actor_kwargs: Any) -> None:
        super().__init__(WorkerActor, client_resources, {})  # instead of Flower's actor
        self._changed = threading.Condition()
        self._turns: list[Turn] = []
        self._arrivals = itertools.count()
        self._open = True

    def add_actors_to_pool(self, num_actors: int) -> None:
        """Start so many workers; each joins when it answers."""
        for _ in range(num_actors):
            self._start_another()
        # So many threads of Flower's bring a job each, and wait here with it.
        self.num_actors += JOBS_TO_CHOOSE_FROM * num_actors

    def submit(self, actor_fn: Callable[..., Any], job: Job) -> Submitted:
        """Nothing is done yet: Flower's thread asks for the result at once, and it is made there."""
        return actor_fn, job

    def fetch_result_and_return_actor_to_pool(self, future: Submitted) -> tuple[Message, Context]:
        """Have a job done by the next free worker; an error where there is none, or it dies."""
        from wire.messages import Task  # here: this module is loaded before Ray starts, torch after

        actor_fn, (app_fn, message, cid, context) = future
        turn = (-Task.speakers_in(message), next(self._arrivals))
        worker = self._free_worker(turn, due=message.metadata.created_at + message.metadata.ttl)
        if worker is None:
            return _failed(message, "no worker became free in time"), context
        try:
            # The app itself: unpickled elsewhere, Flower's function that makes it would import the engine.
            _, reply, context = ray.get(actor_fn(worker, app_fn(), message, cid, context))
        except (RayActorError, ObjectLostError):
            self._start_another()
            return _failed(message, "the worker that was at it died"), context
        except Exception:
            self._join(worker)
            raise
        self._join(worker)
        return reply, context

    def add_actor_back_to_pool(self, future: Submitted) -> None:
        """It is back already."""

    def terminate_all_actors(self) -> None:
        """End the pool: nobody joins from now on."""
        self._open = False
        super().terminate_all_actors()

    def _free_worker(self, turn: Turn, due: float) -> Any | None:
        """A worker that lives, or None if none is free for this turn before the time `due`."""
        while True:
            with self._changed:
                self._turns.append(turn)
                left = max(0.0, due - time.time())
                found = self._changed.wait_for(lambda: self.pool and turn == min(self._turns), timeout=left)
                worker = self.pool.pop() if found else None
                self._turns.remove(turn)
                self._changed.notify_all()
            if worker is None or _lives(worker):
                return worker
            self._start_another()

    def _start_another(self) -> None:
        threading.Thread(target=self._start, daemon=True).start()

    def _start(self) -> None:
        while self._open:
            worker = self.create_actor_fn()
            if _lives(worker):
                self._join(worker)
                return
            time.sleep(PAUSE_SECONDS)

    def _join(self, worker: Any) -> None:
        with self._changed:
            self.pool.append(worker)
            self._changed.notify_all()


def _lives(worker: Any) -> bool:
    """Whether `worker` answers; asked of a new one, this takes until Ray has found a place for it."""
    try:
        ray.get(worker.__ray_ready__.remote())
    except RayError:
        return False
    return True


def _failed(message: Message, reason: str) -> Message:
    return Message(Error(code=CLIENT_APP_CRASHED, reason=reason), reply_to=message)


def use_lasting_workers() -> None:
    """Let Flower's simulation engine make its pool of this kind; to be called before Ray starts.

    Ray's own watch over the machine's memory is turned off, unless somebody has set it: it ends a worker, and
    with it a node's whole sum, where one speaker's process takes too much. The kernel ends that process
    (`client.training.process`).
    """
    os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
    raybackend.BasicActorPool = LastingPool
