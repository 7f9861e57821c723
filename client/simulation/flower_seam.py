"""All that the client uses of Flower's internals: what a new release of Flower may move or rename.

Flower's simulation engine loads `client.app`, which calls `use_in_engine` before the engine starts. Three
parts of the engine are replaced:

- Its pool of Ray actors. Flower's pool hands out a dead actor again, and every later job of that actor fails.
  It also takes jobs in the order of the nodes' numbers, however many speakers each job has.
- Its hand-over of messages. Flower asks for each node in turn whether it has a message, several times a
  second, and looks through all waiting messages each time. At 1,000 nodes this took half a processor during a
  round, at 5,000 all that the server's process had. Here a message is handed over when it is sent.
- Its threads, each of which brings one message to one actor, with the round's model in it, and waits for the
  reply. Here a worker gets the messages of several nodes in a call.

tests/client/test_flower_internals.py lists the internal names, and compares the signatures with Flower's.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from queue import Empty, Queue
from typing import Any
from uuid import uuid4

import ray
from flwr.app import Context, Error, Message, MessageType, RecordDict
from flwr.app.message import make_message
from flwr.server.superlink.fleet.vce import vce_api
from flwr.server.superlink.fleet.vce.backend import raybackend
from flwr.server.superlink.linkstate.in_memory_linkstate import InMemoryLinkState
from flwr.simulation.ray_transport.ray_actor import BasicActorPool

from client.simulation.actor import WorkerActor, of_parcel
from client.simulation.parcels import SharedArrays, packed
from client.simulation.workers import Job, Workers
from wire.deadlines import deadline_of, wait_seconds

log = logging.getLogger("murmuration.client")

CLIENT_APP_CRASHED = 8  # Flower's ErrorCode for a node whose ClientApp died; deployments use the same
SENT_BYTES = 8 * 1024**2  # an answer or a parcel; Ray's own limit is 100 kB
PAUSE_SECONDS = 1.0  # between two looks whether the simulation is over, as in Flower

Asked = tuple[Message, Context]
Done = Callable[[Message, Context], None]


class WorkerPool(BasicActorPool):  # type: ignore[misc]  # flwr is untyped for us
    """Flower's interface of a pool, in front of `Workers`; as many workers as the cluster has room for.

    `divides` is whether the speakers of one task may go to several workers (`client.simulation.divided`).
    """

    divides = False

    def __init__(self, actor_type: Any, client_resources: Any, actor_kwargs: Any) -> None:
        super().__init__(WorkerActor, client_resources, {})  # our actor instead of Flower's
        self.workers = Workers(self.create_actor_fn, self._ask)
        self.pool = self.workers.present  # what Flower counts and ends
        self._arrays = SharedArrays()
        self._app: Any = None  # Ray's reference
        self._lock, self._open = threading.Lock(), 0

    def add_actors_to_pool(self, num_actors: int) -> None:
        """Start `num_actors` workers."""
        self.workers.start(num_actors)
        self.num_actors = 1  # of Flower's threads: one brings all messages (`bring_messages`)

    def answer(self, app: Any, message: Message, context: Context, done: Done) -> None:
        """Have a worker answer `message`, and call `done`. If the worker is lost, the reply is an error."""
        # Here: this module is loaded before Ray starts, and these bring torch.
        from client.simulation.divided import DividedTask, divisible_speakers
        from wire.messages import Task

        def finished(reply: Message, context: Context) -> None:
            self._count(-1)
            done(reply, context)

        if self._app is None:
            self._app = ray.put(app)
        task, due = DividedTask(message, _with_content, finished), _due(message)
        divisible = self.divides and divisible_speakers(message) > 1

        def job(begin: int, end: int) -> Job:
            def answered(result: Asked | Exception) -> None:
                if isinstance(result, Exception):
                    result = Message(Error(CLIENT_APP_CRASHED, str(result)), reply_to=message), context
                task.answered(*result)

            def divide(speakers: int) -> tuple[Job, Job]:
                task.divide()
                return job(begin, begin + speakers), job(begin + speakers, end)

            part = task.part(begin, end) if divisible else message
            return Job(
                work=(part, context),
                speakers=end - begin,
                due=due,
                done=answered,
                divide=divide if divisible else None,
            )

        whole = job(0, Task.speakers_in(message))
        self._count(1)
        self.workers.add(whole)

    def terminate_all_actors(self) -> None:
        """End the workers, and let none join from now on."""
        self.workers.stop()
        super().terminate_all_actors()

    def _count(self, change: int) -> None:
        """Count the messages that are not answered; between two rounds no array is kept."""
        with self._lock:
            self._open += change
            if not self._open:
                self._arrays.forget()

    def _ask(self, worker: Any, asked: Sequence[Asked]) -> Iterator[Asked]:
        parcel, arrays = packed([message for message, _ in asked], self._arrays.reference)
        answers = worker.answer.options(num_returns="streaming").remote(
            [self._app], parcel, arrays, [context for _, context in asked]
        )
        return chain.from_iterable(map(_answers, answers))  # which keeps none while it waits for the next


def _answers(parcel: Any) -> list[Asked]:
    return of_parcel(ray.get(parcel))


def _with_content(message: Message, content: RecordDict) -> Message:
    """A message with the envelope of `message`."""
    return make_message(metadata=message.metadata, content=content)


def _due(message: Message) -> float:
    """The time (Unix) until which the server waits for the reply to `message`."""
    asked = message.metadata
    trains = asked.message_type == MessageType.TRAIN
    return float(asked.created_at + (wait_seconds(deadline_of(asked.ttl)) if trains else asked.ttl))


def bring_messages(
    messages: Queue[Message],
    replies: Queue[Message],
    nodes: Mapping[int, Any],
    backend: Any,
    stop: threading.Event,
    metrics: Any,
) -> None:
    """Bring each message to the pool at once, and its reply into `replies` when it is there.

    Args:
        messages: The messages for the nodes.
        replies: Takes what they answer.
        nodes: Flower's keepers of each node's context.
        backend: Has the pool, and makes the ClientApp.
        stop: Set at the end of the simulation.
        metrics: Counts the seconds from a message to its reply.
    """
    app = backend.app_fn()  # not Flower's function: unpickled in a worker, it would import the engine
    while not stop.is_set():
        try:
            message = messages.get(timeout=PAUSE_SECONDS)
        except Empty:
            continue
        keeper, run = nodes[message.metadata.dst_node_id], message.metadata.run_id
        keep = _keep(keeper, run, replies, metrics)
        context = keeper.retrieve_context(run)
        try:
            backend.pool.answer(app, message, context, keep)
        except Exception as error:  # else all later messages would wait for ever
            log.exception("a message cannot be brought to a worker")
            keep(Message(Error(CLIENT_APP_CRASHED, str(error)), reply_to=message), context)


def _keep(keeper: Any, run: int, replies: Queue[Message], metrics: Any) -> Done:
    began = time.perf_counter()

    def keep(reply: Message, context: Context) -> None:
        keeper.update_context(run, context)
        metrics.add_clientapp_runtime(time.perf_counter() - began)
        reply.metadata.__dict__["_message_id"] = str(uuid4())
        replies.put(reply)

    return keep


def hand_over(
    state: InMemoryLinkState, queue: Queue[Message], nodes: Container[int], stop: threading.Event
) -> None:
    """Put each message into `queue` once, in the order in which they are sent, until `stop` is set."""
    store = state.store_message_ins

    def hand(message: Message) -> None:
        with state.lock:
            asked = message.metadata
            if asked.dst_node_id in nodes and not asked.delivered_at:
                asked.delivered_at = datetime.now(UTC).isoformat()
                queue.put(message)

    def store_and_hand(message: Message) -> str | None:
        if (message_id := store(message)) is not None:
            hand(message)
        return message_id  # type: ignore[no-any-return]

    with state.lock:
        state.store_message_ins = store_and_hand
        for message in list(state.message_ins_store.values()):  # those that were sent before
            hand(message)
    stop.wait()


def use_in_engine() -> None:
    """Put `WorkerPool` and `hand_over` into Flower's engine; to be called before Ray starts.

    Two of Ray's own choices are changed, unless their variables are set. Its check of the machine's memory
    would end a worker, and with it a node's whole sum, when one speaker process takes too much: the kernel
    ends that process instead (`client.training.process`). And answers of up to `SENT_BYTES` leave a worker
    directly: each object in Ray's store costs server, worker and Ray some 5 ms of processors together.
    """
    os.environ.setdefault("RAY_max_direct_call_object_size", str(SENT_BYTES))
    os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
    _replace(raybackend, "BasicActorPool", WorkerPool)
    _replace(vce_api, "add_messages_to_queue", hand_over)
    _replace(vce_api, "worker", bring_messages)


def _replace(module: Any, name: str, ours: Any) -> None:
    """Replace a name that must be there: in another release of Flower it may have moved."""
    getattr(module, name)
    setattr(module, name, ours)
