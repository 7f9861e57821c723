"""A simulation's messages in Flower's own state: each comes once, in order, and idle nodes take no time."""

import threading
from collections import Counter
from dataclasses import replace
from queue import Empty, Queue
from uuid import uuid4

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.proto.task_pb2 import Task
from flwr.server.superlink.fleet.vce import vce_api
from flwr.server.superlink.linkstate import LinkStateFactory
from flwr.server.superlink.linkstate.in_memory_linkstate import RunRecord
from flwr.supercore.constant import FLWR_IN_MEMORY_DB_NAME, NOOP_FEDERATION_ID
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.run import Run
from flwr.superlink.federation import NoOpFederationManager
from flwr.superlink.grid import InMemoryGrid

import tests.strategies.flower  # noqa: F401 (says whose task this process runs, as Flower would)
from client.simulation.messages import hand_over
from strategies import StreamingGrid

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
    return [Message(content, node, MessageType.TRAIN, ttl=60.0) for node in nodes]


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
