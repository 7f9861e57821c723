"""Our parts in Flower's engine.

A simulation's messages, in Flower's own state, come once and in order, and idle nodes take no time. Flower's
pool hands its jobs to our workers and gets replies.
"""

import os
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from queue import Empty, Queue
from uuid import uuid4

import pytest
from flwr.app import ConfigRecord, Message, MessageType, Metadata, RecordDict
from flwr.app.message import make_message
from flwr.clientapp.client_app import ClientAppException
from flwr.proto.task_pb2 import Task
from flwr.server.superlink.fleet.vce import vce_api
from flwr.server.superlink.linkstate import LinkStateFactory
from flwr.server.superlink.linkstate.in_memory_linkstate import RunRecord
from flwr.supercore.constant import FLWR_IN_MEMORY_DB_NAME, NOOP_FEDERATION_ID
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.run import Run
from flwr.superlink.federation import NoOpFederationManager
from flwr.superlink.grid import InMemoryGrid

import tests.strategies.flower  # noqa: F401 (sets the task that this process runs, as Flower would)
from cli.processes import QUIET
from client.simulation import flower_seam
from client.simulation.flower_seam import WorkerPool, hand_over
from client.simulation.workers import WorkerLost
from strategies import StreamingGrid
from wire.deadlines import message_seconds

NODES, WINDOW = 200, 64


class Engine:
    """Flower's state, with nodes that answer at once, each on a thread as in Flower.

    `handed` are the nodes whose message came to them, `asked` those that Flower's state was asked for.
    """

    def __init__(self):
        factory = LinkStateFactory(FLWR_IN_MEMORY_DB_NAME, NoOpFederationManager(), ObjectStoreFactory())
        self.state = factory.state()
        run = replace(Run.create_empty(1), primary_task_id=1, federation_id=NOOP_FEDERATION_ID)
        self.state.run_ids[1], self.state.task_store[1] = RunRecord(run=run), Task(task_id=1, run_id=1)
        self.grid = InMemoryGrid(factory)
        self.grid.set_run(run)
        self.nodes = vce_api._register_nodes(NODES, factory)
        self.handed, self.asked = [], []
        self.waiting, self.stop = Queue(), threading.Event()

    def __enter__(self):
        get = self.state.get_message_ins
        self.state.get_message_ins = lambda node_id, limit: self.asked.append(node_id) or get(node_id, limit)
        steps = (hand_over, (self.state, self.waiting, self.nodes, self.stop)), (self.answer, ())
        self.threads = [threading.Thread(target=step, args=arguments) for step, arguments in steps]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def answer(self):
        while not self.stop.is_set():
            try:
                message = self.waiting.get(timeout=0.1)
            except Empty:
                continue
            self.handed.append(message.metadata.dst_node_id)
            reply = Message(RecordDict(), reply_to=message)
            reply.metadata.__dict__["_message_id"] = str(uuid4())
            self.state.store_message_res(reply)


def messages(nodes):
    content = RecordDict({"c": ConfigRecord({"n": 1})})
    return [Message(content, node, MessageType.TRAIN, ttl=message_seconds(48.0)) for node in nodes]


def test_every_message_comes_once_and_in_order_at_three_times_the_window():
    with Engine() as engine:
        nodes = list(engine.nodes)[::-1]
        replies = StreamingGrid(engine.grid, window=WINDOW).send_and_receive(messages(nodes), timeout=60)
        answered = [reply.metadata.src_node_id for reply in replies]
        assert engine.handed == nodes and Counter(answered) == Counter(nodes)


def test_only_nodes_with_a_message_are_asked_for():
    with Engine() as engine:
        nodes = list(engine.nodes)[:5]
        assert len(list(StreamingGrid(engine.grid).send_and_receive(messages(nodes), timeout=60))) == 5
        assert engine.asked == nodes


# --- The pool ---------------------------------------------------------------------------------------


@pytest.fixture
def pool(monkeypatch):
    """Flower's pool in front of workers that do a job at once; `asked` is what they were given."""
    monkeypatch.setattr("flwr.simulation.ray_transport.ray_actor.pool_size_from_resources", lambda _: 2)
    made = WorkerPool(None, {"num_cpus": 1}, {})
    made.asked = []

    def do(job, **given):
        made.asked.append(given)
        return job("a worker")

    monkeypatch.setattr(made.workers, "do", do)
    return made


def ask(pool, answer, speakers=None):
    """What Flower's thread does with a message; `answer` is called in the place of the worker's app."""
    kind = "query" if speakers is None else "train"
    metadata = Metadata(1, "asked", 1, 2, "", "", 100.0, message_seconds(48.0), kind)
    task = {} if speakers is None else {"task": ConfigRecord({"speakers": [*range(speakers)]})}
    message = make_message(metadata=metadata, content=RecordDict(task))
    job = (lambda: "the app", message, "0", "old context")
    future = pool.submit(lambda worker, *parts: answer(worker, *parts), job)
    try:
        return pool.fetch_result_and_return_actor_to_pool(future)
    finally:
        pool.add_actor_back_to_pool(future)


def test_a_job_is_the_app_itself_and_its_reply_comes_back_with_the_new_context(pool):
    def answer(worker, app, message, cid, context):
        assert (worker, app, cid, context) == ("a worker", "the app", "0", "old context")
        return cid, Message(RecordDict(), reply_to=message), "new context"

    reply, context = ask(pool, answer, speakers=3)
    assert not reply.has_error() and context == "new context"
    ask(pool, answer)
    assert pool.asked == [{"speakers": 3, "due": 160.0}, {"speakers": 0, "due": 220.0}]


def test_a_lost_worker_is_an_error_reply_and_the_old_context(pool):
    def lose(*_):
        raise WorkerLost("the worker with this job died")

    reply, context = ask(pool, lose)
    assert (reply.error.code, reply.error.reason) == (8, "the worker with this job died")
    assert context == "old context"


def test_what_the_app_raises_becomes_flowers_own_error(pool):
    def fail(*_):
        raise flower_seam.RayTaskError(
            "run", "a traceback", ValueError("the app's own"), "ray", 1, "127.0.0.1"
        )

    with pytest.raises(ClientAppException, match=r"Message: the app's own$"):
        ask(pool, fail)


@pytest.mark.parametrize(
    ("engine", "has"), [("flwr.simulation", "WorkerPool hand_over"), ("flwr.clientapp", "no ray")]
)
def test_flowers_simulation_has_our_parts_and_a_deployment_loads_no_ray(engine, has):
    code = (
        f"import sys, {engine}, client.app\n"
        "if 'torch' in sys.modules: sys.exit('torch')\n"
        "if 'ray' not in sys.modules: sys.exit('no ray')\n"
        "from flwr.server.superlink.fleet.vce import vce_api\n"
        "from flwr.server.superlink.fleet.vce.backend import raybackend\n"
        "sys.exit(f'{raybackend.BasicActorPool.__name__} {vce_api.add_messages_to_queue.__name__}')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip().splitlines()[-1] == has


def test_a_part_that_flower_has_moved_is_an_error_and_not_a_new_name():
    with pytest.raises(AttributeError, match="moved"):
        flower_seam._replace(flower_seam.vce_api, "moved", None)
    assert not hasattr(flower_seam.vce_api, "moved")


def test_ray_ends_no_worker_for_the_memory_of_a_speaker(monkeypatch):
    """Ray's own check of the memory would end a worker, and with it a node's whole sum."""
    switch = "RAY_memory_monitor_refresh_ms"
    assert QUIET[switch] == "0"
    monkeypatch.setattr(flower_seam, "_replace", lambda *_: None)
    for before, after in ((None, "0"), ("250", "250")):
        monkeypatch.delenv(switch, raising=False)
        if before:
            monkeypatch.setenv(switch, before)
        flower_seam.use_in_engine()
        assert os.environ[switch] == after
