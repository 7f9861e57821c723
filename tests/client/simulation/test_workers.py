"""The pool of a simulation's workers, here with none of Ray's; with Ray: tests/test_ray_cluster.py."""

import os
import subprocess
import sys
import threading
import time

import pytest
from flwr.app import ConfigRecord, Message, Metadata, RecordDict
from flwr.app.message import make_message
from ray.exceptions import ActorDiedError

from cli.processes import QUIET
from client.simulation import workers
from client.simulation.workers import LastingPool
from tests.processes import wait_until


class Worker:
    """Does a job at once, unless it is dead; one that is doomed dies at it."""

    def __init__(self):
        self.dead = self.doomed = False

    def do(self, job):
        if self.doomed:
            raise ActorDiedError()
        return "0", Message(RecordDict(), reply_to=job[1]), "new context"


class Pool(LastingPool):
    """Two workers; `made` are all that were ever started."""

    def __init__(self):
        super().__init__(Worker, {"num_cpus": 1}, {})
        self.made = []
        self.create_actor_fn = self.make
        self.add_actors_to_pool(2)
        wait_until(lambda: len(self.pool) == 2, seconds=10, what="two workers")

    def make(self):
        self.made.append(Worker())
        return self.made[-1]

    def ask(self, do=Worker.do, ttl=60.0, speakers=None):
        metadata = Metadata(1, "asked", 1, 2, "", "", time.time(), ttl, "train")
        task = {} if speakers is None else {"task": ConfigRecord({"speakers": [*range(speakers)]})}
        question = make_message(metadata=metadata, content=RecordDict(task))
        return self.fetch_result_and_return_actor_to_pool(
            self.submit(lambda worker, *job: do(worker, job), (lambda: None, question, "0", "old context"))
        )


@pytest.fixture
def pool(monkeypatch):
    monkeypatch.setattr("flwr.simulation.ray_transport.ray_actor.pool_size_from_resources", lambda _: 2)
    monkeypatch.setattr(workers.ray, "get", lambda answer: answer)
    monkeypatch.setattr(workers, "_lives", lambda worker: not worker.dead)
    return Pool()


def test_a_worker_that_did_its_job_does_the_next(pool):
    for _ in range(5):
        reply, context = pool.ask()
        assert not reply.has_error() and context == "new context"
    assert len(pool.made) == 2 == len(pool.pool)


def test_a_job_is_lost_with_its_worker_and_another_worker_takes_the_place(pool):
    pool.pool[-1].doomed = True
    reply, context = pool.ask()
    assert (reply.error.code, reply.error.reason) == (8, "the worker that was at it died")
    assert context == "old context"
    wait_until(lambda: len(pool.pool) == 2, seconds=10, what="the replacement")
    assert len(pool.made) == 3 and not any(worker.doomed for worker in pool.pool)
    assert not pool.ask()[0].has_error()


def test_a_worker_that_died_idle_costs_no_job(pool):
    pool.pool[-1].dead = True
    assert not pool.ask()[0].has_error()
    wait_until(lambda: len(pool.pool) == 2, seconds=10, what="the replacement")
    assert len(pool.made) == 3 and not any(worker.dead for worker in pool.pool)


def test_what_the_app_raises_is_passed_on_and_its_worker_goes_on(pool):
    def fail(worker, job):
        raise ValueError("the app's own")

    with pytest.raises(ValueError, match="the app's own"):
        pool.ask(do=fail)
    assert len(pool.made) == 2 == len(pool.pool)


def test_the_job_with_the_most_speakers_goes_first(pool):
    (only, _), done = pool.pool, []
    pool.pool.clear()

    def do(worker, job):
        done.append(len(job[1].content["task"]["speakers"]))
        return worker.do(job)

    threads = []
    for waiting, speakers in enumerate((1, 5, 3, 5), start=1):
        threads.append(threading.Thread(target=pool.ask, kwargs={"do": do, "speakers": speakers}))
        threads[-1].start()
        wait_until(lambda: len(pool._turns) == waiting, seconds=10, what="a job that waits")  # noqa: B023
    pool._join(only)
    for thread in threads:
        thread.join(10)
    assert done == [5, 5, 3, 1]
    assert pool.pool == [only]


def test_a_job_waits_for_a_worker_no_longer_than_its_answer_is_waited_for(pool):
    pool.pool.clear()
    reply, context = pool.ask(ttl=0.01)
    assert (reply.error.code, reply.error.reason) == (8, "no worker became free in time")
    assert context == "old context"


@pytest.mark.parametrize(
    ("engine", "has"), [("flwr.simulation", "LastingPool hand_over"), ("flwr.clientapp", "no ray")]
)
def test_flower_s_simulation_has_our_workers_and_messages_and_a_deployment_loads_no_ray(engine, has):
    code = (
        f"import sys, {engine}, client.app\n"
        "if 'ray' not in sys.modules: sys.exit('no ray')\n"
        "from flwr.server.superlink.fleet.vce import vce_api\n"
        "from flwr.server.superlink.fleet.vce.backend import raybackend\n"
        "sys.exit(f'{raybackend.BasicActorPool.__name__} {vce_api.add_messages_to_queue.__name__}')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip().splitlines()[-1] == has


def test_ray_ends_no_worker_for_the_memory_of_a_speaker(monkeypatch):
    """Its watch over the machine's memory would: a worker dies, and with it a node's whole sum."""
    switch = "RAY_memory_monitor_refresh_ms"
    assert QUIET[switch] == "0"
    monkeypatch.setattr(workers.raybackend, "BasicActorPool", None)
    for before, after in ((None, "0"), ("250", "250")):
        monkeypatch.delenv(switch, raising=False)
        if before:
            monkeypatch.setenv(switch, before)
        workers.use_lasting_workers()
        assert os.environ[switch] == after
