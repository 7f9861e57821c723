"""All that the client uses of Flower's internals: what a new release of Flower may move or rename.

Flower's simulation engine loads `client.app`, which calls `use_in_engine` before the engine starts. Two parts
of the engine are replaced:

- Its pool of Ray actors. Flower's pool hands out a dead actor again, and every later job of that actor fails.
  It also takes jobs in the order of the nodes' numbers, however many speakers each job has.
- Its hand-over of messages. Flower asks for each node in turn whether it has a message, several times a
  second, and looks through all waiting messages each time. At 1,000 nodes this took half a processor during a
  round, at 5,000 all that the server's process had. Here only nodes with a message are asked for.

tests/client/test_flower_internals.py lists the internal names, and compares the signatures with Flower's.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Container
from queue import Queue
from typing import Any

from flwr.app import Context, Error, Message, MessageType
from flwr.clientapp.client_app import ClientAppException
from flwr.server.superlink.fleet.vce import vce_api
from flwr.server.superlink.fleet.vce.backend import raybackend
from flwr.server.superlink.linkstate.in_memory_linkstate import InMemoryLinkState
from flwr.simulation.ray_transport.ray_actor import BasicActorPool
from ray.exceptions import RayTaskError

from client.simulation.actor import WorkerActor
from client.simulation.workers import WorkerLost, Workers
from wire.deadlines import deadline_of, wait_seconds

CLIENT_APP_CRASHED = 8  # Flower's ErrorCode for a node whose ClientApp died; deployments use the same
PAUSE_SECONDS = 0.1  # between two looks for messages, as in Flower
JOBS_TO_CHOOSE_FROM = 3  # for each worker

Job = tuple[Callable[[], Any], Message, str, Context]
Submitted = tuple[Callable[..., Any], Job]


class WorkerPool(BasicActorPool):  # type: ignore[misc]  # flwr is untyped for us
    """Flower's interface of a pool, in front of `Workers`; as many workers as the cluster has room for."""

    def __init__(self, actor_type: Any, client_resources: Any, actor_kwargs: Any) -> None:
        super().__init__(WorkerActor, client_resources, {})  # our actor instead of Flower's
        self.workers = Workers(self.create_actor_fn)
        self.pool = self.workers.free  # what Flower counts and ends

    def add_actors_to_pool(self, num_actors: int) -> None:
        """Start `num_actors` workers."""
        self.workers.start(num_actors)
        # The number of Flower's threads. Each brings one job and waits here with it.
        self.num_actors += JOBS_TO_CHOOSE_FROM * num_actors

    def submit(self, actor_fn: Callable[..., Any], job: Job) -> Submitted:
        """Return the job itself: Flower's thread asks for the result at once, and the work is done there."""
        return actor_fn, job

    def fetch_result_and_return_actor_to_pool(self, future: Submitted) -> tuple[Message, Context]:
        """Have the next free worker do the job. If the worker is lost, the reply is an error.

        Raises:
            ClientAppException: If the ClientApp raises; Flower makes an error reply of it.
        """
        from wire.messages import Task  # here: this module is loaded before Ray starts, torch after

        actor_fn, (app_fn, message, cid, context) = future
        app = app_fn()  # not Flower's function: unpickled in a worker, it would import the engine
        try:
            _, reply, context = self.workers.do(
                lambda worker: actor_fn(worker, app, message, cid, context),
                speakers=Task.speakers_in(message),
                due=_due(message),
            )
        except WorkerLost as lost:
            return Message(Error(code=CLIENT_APP_CRASHED, reason=str(lost)), reply_to=message), context
        except RayTaskError as error:
            raise ClientAppException(str(error.cause)) from error
        return reply, context

    def add_actor_back_to_pool(self, future: Submitted) -> None:
        """Do nothing: the worker is back already."""

    def terminate_all_actors(self) -> None:
        """End the free workers, and let none join from now on."""
        self.workers.stop()
        super().terminate_all_actors()


def _due(message: Message) -> float:
    """The time (Unix) until which the server waits for the reply to `message`."""
    asked = message.metadata
    trains = asked.message_type == MessageType.TRAIN
    return float(asked.created_at + (wait_seconds(deadline_of(asked.ttl)) if trains else asked.ttl))


def hand_over(
    state: InMemoryLinkState, queue: Queue[Message], nodes: Container[int], stop: threading.Event
) -> None:
    """Put each message into `queue` once, in the order in which they were sent, until `stop` is set."""
    while not stop.is_set():
        for node in waiting_nodes(state):
            if node in nodes:
                for message in state.get_message_ins(node_id=node, limit=1):
                    queue.put(message)
        stop.wait(PAUSE_SECONDS)


def waiting_nodes(state: InMemoryLinkState) -> list[int]:
    """The nodes with a message that was not handed over, each once, the longest waiting first."""
    with state.lock:
        metadata = [message.metadata for message in state.message_ins_store.values()]
        return list(dict.fromkeys(one.dst_node_id for one in metadata if not one.delivered_at))


def use_in_engine() -> None:
    """Put `WorkerPool` and `hand_over` into Flower's engine; to be called before Ray starts.

    Ray's own check of the machine's memory is turned off, unless its variable is set: it would end a worker,
    and with it a node's whole sum, when one speaker process takes too much. The kernel ends that process
    instead (`client.training.process`).
    """
    os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
    _replace(raybackend, "BasicActorPool", WorkerPool)
    _replace(vce_api, "add_messages_to_queue", hand_over)


def _replace(module: Any, name: str, ours: Any) -> None:
    """Replace a name that must be there: in another release of Flower it may have moved."""
    getattr(module, name)
    setattr(module, name, ours)
