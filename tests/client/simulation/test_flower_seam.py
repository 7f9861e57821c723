"""Our parts in Flower's engine.

A simulation's messages, in Flower's own state, come once and in order, and idle nodes take no time. Flower's
pool hands its jobs to our workers and gets replies.
"""

import os
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter
from dataclasses import replace
from queue import Empty, Queue
from uuid import uuid4

import numpy as np
import pytest
import ray
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MessageType, Metadata, RecordDict
from flwr.app.message import make_message
from flwr.proto.task_pb2 import Task as FlowerTask
from flwr.server.superlink.fleet.vce import vce_api
from flwr.server.superlink.linkstate import LinkStateFactory
from flwr.server.superlink.linkstate.in_memory_linkstate import RunRecord
from flwr.supercore.constant import FLWR_IN_MEMORY_DB_NAME, NOOP_FEDERATION_ID
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.run import Run
from flwr.superlink.federation import NoOpFederationManager
from flwr.superlink.grid import InMemoryGrid
from ray import cloudpickle
from ray.exceptions import ActorDiedError

import tests.strategies.flower  # noqa: F401 (sets the task that this process runs, as Flower would)
from cli.processes import QUIET
from client.simulation import flower_seam
from client.simulation.actor import WorkerActor, in_parcel, of_parcel
from client.simulation.flower_seam import WorkerPool, bring_messages, hand_over
from client.simulation.parcels import LEAST_BYTES, MOST_KEPT, SharedArrays, packed, unpacked
from strategies import StreamingGrid
from strategies.superlink_replies import ToldChannel
from tests.processes import wait_until
from tests.strategies.federation import BOUNDS, QUANTISER, answer_to
from wire.arrays import array_view, as_array
from wire.deadlines import message_seconds
from wire.messages import Answer, Task, pack_vector

NODES, WINDOW = 200, 64


class Engine:
    """Flower's state, with nodes that answer at once, each on a thread as in Flower.

    `handed` are the nodes whose message came to them; `looked` is for how many replies the server looked.
    """

    def __init__(self):
        factory = LinkStateFactory(FLWR_IN_MEMORY_DB_NAME, NoOpFederationManager(), ObjectStoreFactory())
        self.state = factory.state()
        run = replace(Run.create_empty(1), primary_task_id=1, federation_id=NOOP_FEDERATION_ID)
        self.state.run_ids[1], self.state.task_store[1] = RunRecord(run=run), FlowerTask(task_id=1, run_id=1)
        self.grid = InMemoryGrid(factory)
        self.grid.set_run(run)
        self.nodes = vce_api._register_nodes(NODES, factory)
        self.handed, self.looked = [], 0
        self.waiting, self.stop = Queue(), threading.Event()

    def __enter__(self):
        get = self.state.get_message_res

        def count(message_ids, run_id):
            self.looked += len(message_ids)
            return get(message_ids, run_id)

        self.state.get_message_res = count
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


def test_the_server_looks_once_for_each_reply_and_for_no_other():
    with Engine() as engine:
        grid = StreamingGrid(engine.grid, window=WINDOW)
        assert isinstance(grid._channel, ToldChannel)
        assert len(list(grid.send_and_receive(messages(engine.nodes), timeout=60))) == NODES
        assert engine.looked == NODES


def test_a_message_that_was_sent_before_is_handed_over_and_one_for_another_place_is_not():
    engine = Engine()
    first, second, *_ = engine.nodes
    del engine.nodes[second]
    engine.grid.push_messages(messages([first, second]))
    with engine:
        wait_until(lambda: engine.handed, seconds=10, what="the message")
        assert len(list(StreamingGrid(engine.grid).send_and_receive(messages([first]), timeout=60))) == 1
        assert engine.handed == [first, first]


def test_a_message_without_a_reply_is_not_kept_and_its_late_reply_neither(caplog):
    engine = Engine()
    first, second, *_ = engine.nodes
    grid = StreamingGrid(engine.grid)
    asked = messages([first, second])
    assert list(grid.send_and_receive(asked, timeout=0.01)) == []
    assert not engine.state.message_ins_store
    late = Message(RecordDict(), reply_to=asked[0])
    late.metadata.__dict__["_message_id"] = "late"
    assert engine.state.store_message_res(late) is None
    assert not engine.state.message_res_store
    assert not [one for one in caplog.records if one.levelname == "ERROR"]


def test_a_reply_that_is_told_of_twice_is_one(monkeypatch):
    with Engine() as engine:
        grid = StreamingGrid(engine.grid)
        store = engine.state.store_message_res
        monkeypatch.setattr(engine.state, "store_message_res", lambda reply: store(reply) and store(reply))
        nodes = list(engine.nodes)[:20]
        answered = [one.metadata.src_node_id for one in grid.send_and_receive(messages(nodes), timeout=60)]
        assert Counter(answered) == Counter(nodes)


# --- The pool ---------------------------------------------------------------------------------------


class Worker:
    """An actor: answers a call's messages by `reply`, and keeps what came with it."""

    def __init__(self, reply):
        self.reply, self.calls = reply, []
        self.answer = self.__ray_ready__ = self

    def options(self, **_):
        return self

    def remote(self, *call):
        self.calls.append(call)
        made = map(self.reply, unpacked(call[1], call[2]), call[3]) if call else ()
        return (in_parcel([one]) for one in made) if call else None


class Keeper:
    """Flower's keeper of a node's context."""

    def __init__(self, context):
        self.context = context

    def retrieve_context(self, run):
        return self.context

    def update_context(self, run, context):
        self.context = context


class Metrics:
    def add_clientapp_runtime(self, seconds):
        assert seconds >= 0


class Brought:
    """Messages that Flower's queue brings to a pool with one worker; `replies` are what come back."""

    def __init__(self, monkeypatch, reply):
        monkeypatch.setattr("flwr.simulation.ray_transport.ray_actor.pool_size_from_resources", lambda _: 1)
        monkeypatch.setattr(ray, "put", lambda thing: thing)
        monkeypatch.setattr(ray, "get", lambda thing: thing)
        self.worker, self.replies, self.waiting = Worker(reply), Queue(), Queue()
        self.pool = WorkerPool(None, {"num_cpus": 1}, {})
        self.pool.workers._create = lambda: self.worker
        self.app_fn, self.stop = lambda: "the app", threading.Event()
        self.nodes = {node: Keeper(f"context {node}") for node in (2, 3, 4)}

    def bring(self, asked):
        """Answer these messages, which wait before any worker is there; returns the replies in order."""
        for message in asked:
            self.waiting.put(message)
        given = (self.waiting, self.replies, self.nodes, self, self.stop, Metrics())
        thread = threading.Thread(target=bring_messages, args=given)
        thread.start()
        wait_until(lambda: len(self.pool.workers._waiting) == len(asked), seconds=10, what="all jobs")
        self.pool.add_actors_to_pool(1)
        replies = [self.replies.get(timeout=60) for _ in asked]
        self.stop.set()
        self.pool.workers.stop()
        thread.join()
        return replies


def asked_of(node, speakers=None, model=None):
    kind = "query" if speakers is None else "train"
    metadata = Metadata(1, f"asked {node}", 1, node, "", "", time.time(), message_seconds(48.0), kind)
    content = {} if speakers is None else {"task": ConfigRecord({"speakers": [*range(speakers)]})}
    return make_message(metadata=metadata, content=RecordDict(content | ({"model": model} if model else {})))


def echo(message, context):
    return Message(RecordDict(), reply_to=message), f"new {context}"


def test_messages_of_several_nodes_go_in_one_call_and_each_reply_to_its_node(monkeypatch):
    brought = Brought(monkeypatch, echo)
    model = ArrayRecord([np.arange(LEAST_BYTES, dtype=np.float32)])
    replies = brought.bring([asked_of(2, 1, model), asked_of(3, 5, model), asked_of(4, 1, model)])
    assert {reply.metadata.reply_to_message_id for reply in replies} == {"asked 2", "asked 3", "asked 4"}
    assert [keeper.context for keeper in brought.nodes.values()] == [f"new context {n}" for n in (2, 3, 4)]
    assert len({reply.metadata.message_id for reply in replies}) == 3
    calls = [call for call in brought.worker.calls if call]
    assert [call[3] for call in calls] == [["context 3"], ["context 2"], ["context 4"]]
    assert all(call[0] == ["the app"] for call in calls)
    for _, parcel, arrays, _ in calls:
        assert len(parcel) < LEAST_BYTES and [len(one) for one in arrays] == [4 * LEAST_BYTES + 128]
    assert brought.pool.num_actors == 1  # Flower's threads


def test_small_jobs_share_a_call_and_a_model_lies_in_the_store_once(monkeypatch):
    brought, put = Brought(monkeypatch, echo), []
    monkeypatch.setattr(ray, "put", lambda thing: put.append(thing) or thing)
    model = ArrayRecord([np.arange(LEAST_BYTES, dtype=np.float32)])
    brought.nodes = {node: Keeper(node) for node in range(16)}
    brought.bring([asked_of(node, 1, model) for node in range(16)])
    sizes = [len(call[3]) for call in brought.worker.calls if call]
    assert sizes == [8, 4, 2, 1, 1]
    assert [one for one in put if isinstance(one, np.ndarray)] == [put[1]] and put[0] == "the app"
    assert not brought.pool._arrays._known  # nothing is kept between two rounds


def test_the_parts_of_a_divided_task_are_one_reply_to_the_bit(monkeypatch):
    speakers = (4, 1, 7, 2, 9, 3, 8, 5)
    task = Task(round_number=1, nonce="n", layout="l", speakers=speakers, bounds=BOUNDS, quantiser=QUANTISER)

    def train(number):
        return torch.full((BOUNDS.model_size,), 0.01 * number)

    def reply(message, context):
        part, _ = Task.from_message(message)
        trained.append(part.speakers)
        return Message(answer_to(part, train).to_record(), reply_to=message), context

    trained, message = [], task.to_message(2, pack_vector(torch.zeros(BOUNDS.model_size)), 600.0)
    message.metadata.__dict__["_message_id"] = "asked"
    monkeypatch.setattr(WorkerPool, "divides", True)
    (joined,) = Brought(monkeypatch, reply).bring([message])
    assert trained == [speakers[:4], speakers[4:6], speakers[6:7], speakers[7:]]
    answer, whole = Answer.from_message(joined), answer_to(task, train)
    assert (answer.count, bytes(answer.packed)) == (8, bytes(whole.packed))


def test_an_answer_is_let_go_before_the_next_is_waited_for(monkeypatch):
    """Each is as large as the model."""
    made, kept = [], []

    def answers(context):
        kept.append([one() for one in made if one() is not None])
        answer = Message(RecordDict(), reply_to=asked_of(2))
        made.append(weakref.ref(answer))
        return in_parcel([(answer, context)])

    brought = Brought(monkeypatch, echo)
    brought.worker.remote = lambda *call: map(answers, call[3])
    results = brought.pool._ask(brought.worker, [(asked_of(node, 1), "context") for node in (2, 3, 4)])
    assert all(next(results) for _ in range(3))
    assert kept == [[], [], []]


def test_large_arrays_of_a_reply_are_read_where_they_lie():
    array = as_array(np.arange(LEAST_BYTES, dtype=np.float32))
    reply = Message(RecordDict({"sum": ArrayRecord({"packed": array})}), reply_to=asked_of(2))
    context = Context(1, 2, {}, RecordDict({"kept": ArrayRecord({"packed": array})}), {})
    parcel, arrays, contexts = in_parcel([(reply, context)])
    assert len(parcel) < LEAST_BYTES and len(arrays) == 1
    ((back, kept),) = of_parcel((parcel, arrays, contexts))
    assert back.content["sum"]["packed"].data.obj is arrays[0]
    assert np.array_equal(array_view(back.content["sum"]["packed"]), np.arange(LEAST_BYTES))
    # A node's state stays from round to round, and must not keep the replies that came with it.
    assert type(kept.state["kept"]["packed"].data) is bytes


class Mortal(Worker):
    """Works ahead of what is taken from it, and dies after so many answers."""

    def __init__(self, reply, left):
        super().__init__(reply)
        self.left = left

    def remote(self, *call):
        if not call and self.left < 0:
            raise ActorDiedError()
        return self.answers([*super().remote(*call)]) if call else None

    def answers(self, made):
        for one in made:
            self.left -= 1
            if self.left < 0:
                raise ActorDiedError()
            yield one


def test_a_node_has_its_whole_sum_or_none_however_workers_die(monkeypatch):
    speakers = (4, 1, 7, 2, 9, 3, 8, 5, 0, 6, 11)
    task = Task(round_number=1, nonce="n", layout="l", speakers=speakers, bounds=BOUNDS, quantiser=QUANTISER)
    model = pack_vector(torch.zeros(BOUNDS.model_size))

    def train(number):
        return torch.full((BOUNDS.model_size,), 0.01 * number)

    def reply(message, context):
        return Message(answer_to(Task.from_message(message)[0], train).to_record(), reply_to=message), context

    asked = [task.to_message(node, model, 600.0) for node in range(2, 14)]
    for message in asked:
        message.metadata.__dict__["_message_id"] = f"asked {message.metadata.dst_node_id}"
    monkeypatch.setattr(WorkerPool, "divides", True)
    brought = Brought(monkeypatch, reply)
    brought.nodes = {node: Keeper(node) for node in range(2, 14)}
    lives = iter([1, 4, 0, 9, 2, *[10**6] * 9])  # each death costs one part, and so at most one node
    brought.pool.workers._create = lambda: Mortal(reply, next(lives))
    brought.pool.workers._count = 2  # beside the one that is started
    replies = brought.bring(asked)
    assert Counter(one.metadata.src_node_id for one in replies) == Counter(range(2, 14))
    whole = bytes(answer_to(task, train).packed)
    sums = [Answer.from_message(one) for one in replies if one.has_content()]
    assert all((one.count, bytes(one.packed)) == (len(speakers), whole) for one in sums)
    assert 7 <= len(sums) < 12
    assert brought.replies.empty() and brought.pool._open == 0 and not brought.pool.workers._waiting


def test_of_arrays_in_the_store_only_the_newest_are_kept(monkeypatch):
    monkeypatch.setattr(ray, "put", lambda thing: [thing])
    kept, arrays = SharedArrays(), [bytes([number]) * 9 for number in range(9)]
    references = [kept.reference(one) for one in arrays]
    assert [bytes(one[0]) for one in references] == arrays
    assert kept.reference(arrays[-1]) is references[-1] and len(kept._known) == MOST_KEPT
    assert bytes(kept.reference(arrays[0])[0]) == arrays[0]


def test_a_lost_worker_is_an_error_reply_and_the_old_context(monkeypatch):
    def lose(*_):
        raise ActorDiedError()

    brought = Brought(monkeypatch, lose)
    (reply,) = brought.bring([asked_of(2, 1)])
    assert (reply.error.code, reply.error.reason) == (8, "the worker with this job died")
    assert brought.nodes[2].context == "context 2"


def test_a_message_that_cannot_be_brought_is_an_error_of_its_node_and_the_next_ones_are_answered(monkeypatch):
    brought = Brought(monkeypatch, echo)
    brought.pool.divides = True
    brought.waiting.put(asked_of(2, 5))  # a task that does not say whether it wants raw metrics
    (failed,) = brought.bring([asked_of(3)])
    assert failed.error.code == 8 and "raw-metrics" in failed.error.reason
    fine = brought.replies.get(timeout=10)
    assert fine.has_content() and fine.metadata.reply_to_message_id == "asked 3"
    assert brought.pool._open == 0


def test_what_the_app_raises_is_an_error_of_its_node_alone():
    def app(message, context):
        if context == "bad":
            raise ValueError("the app's own")
        return Message(RecordDict(), reply_to=message)

    parcel, _ = packed([asked_of(2), asked_of(3)], lambda array: array)
    actor = WorkerActor.__ray_metadata__.modified_class()
    actor._kept = {"app": app}
    (answers,) = actor.answer(["app"], parcel, [], ["bad", "good"])
    (failed, kept), (fine, _) = of_parcel(answers)
    assert (failed.error.code, failed.error.reason, kept) == (2, "ValueError: the app's own", "bad")
    assert fine.has_content()


def test_an_array_that_a_node_keeps_of_its_message_travels_back_as_bytes():
    model = ArrayRecord([np.arange(LEAST_BYTES, dtype=np.float32)])
    parcel, arrays = packed([asked_of(2, 1, model)], lambda array: array)
    (message,) = unpacked(parcel, [memoryview(one) for one in arrays])
    assert np.array_equal(array_view(message.content["model"]["0"]), np.arange(LEAST_BYTES))
    back = cloudpickle.loads(cloudpickle.dumps(message))
    assert back.content["model"]["0"].data == model["0"].data


@pytest.mark.parametrize(
    ("engine", "has"),
    [("flwr.simulation", "WorkerPool hand_over bring_messages"), ("flwr.clientapp", "no ray")],
)
def test_flowers_simulation_has_our_parts_and_a_deployment_loads_no_ray(engine, has):
    code = (
        f"import sys, {engine}, client.app\n"
        "if 'torch' in sys.modules: sys.exit('torch')\n"
        "if 'ray' not in sys.modules: sys.exit('no ray')\n"
        "from flwr.server.superlink.fleet.vce import vce_api\n"
        "from flwr.server.superlink.fleet.vce.backend import raybackend\n"
        "ours = raybackend.BasicActorPool, vce_api.add_messages_to_queue, vce_api.worker\n"
        "sys.exit(' '.join(one.__name__ for one in ours))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip().splitlines()[-1] == has


def test_a_part_that_flower_has_moved_is_an_error_and_not_a_new_name():
    with pytest.raises(AttributeError, match="moved"):
        flower_seam._replace(flower_seam.vce_api, "moved", None)
    assert not hasattr(flower_seam.vce_api, "moved")


@pytest.mark.parametrize(
    ("switch", "chosen"),
    [
        # Ray's own check of the memory would end a worker, and with it a node's whole sum.
        ("RAY_memory_monitor_refresh_ms", "0"),
        # An answer would go through Ray's store, which costs more than to make it.
        ("RAY_max_direct_call_object_size", str(flower_seam.SENT_BYTES)),
    ],
)
def test_what_ray_would_choose_otherwise_is_set_unless_the_user_sets_it(monkeypatch, switch, chosen):
    assert QUIET[switch] == chosen
    monkeypatch.setattr(flower_seam, "_replace", lambda *_: None)
    for before, after in ((None, chosen), ("250", "250")):
        monkeypatch.delenv(switch, raising=False)
        if before:
            monkeypatch.setenv(switch, before)
        flower_seam.use_in_engine()
        assert os.environ[switch] == after


@pytest.mark.parametrize(("seconds", "leave"), [(0.0, [[0], [1], [2]]), (60.0, [[0, 1, 2]])])
def test_answers_that_come_soon_after_each_other_leave_a_worker_together(monkeypatch, seconds, leave):
    monkeypatch.setattr("client.simulation.actor.TOGETHER_SECONDS", seconds)
    monkeypatch.setattr(ray, "get", lambda thing: thing)
    actor = WorkerActor.__ray_metadata__.modified_class()
    parcel, _ = packed(["first", "second", "third"], lambda array: array)
    app = lambda message, context: message  # noqa: E731
    answers = [of_parcel(one) for one in actor.answer([app], parcel, [], [0, 1, 2])]
    assert [[context for _, context in together] for together in answers] == leave
    assert [message for together in answers for message, _ in together] == ["first", "second", "third"]
