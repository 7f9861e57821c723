"""The workers of a simulation, here without Ray; with Ray: tests/test_ray_cluster.py."""

import threading
import time

import pytest
from ray.exceptions import ActorDiedError

from client.simulation import workers as workers_module
from client.simulation.workers import WorkerLost, Workers
from tests.processes import wait_until


class Worker:
    """Does a job at once, unless it is dead; a doomed one dies at the job."""

    def __init__(self):
        self.dead = self.doomed = False

    def do(self):
        if self.doomed:
            raise ActorDiedError()
        return "done"


class Pool(Workers):
    """Two workers; `made` are all that were ever started."""

    def __init__(self):
        self.made = []
        super().__init__(self.make)
        self.start(2)
        wait_until(lambda: len(self.free) == 2, seconds=10, what="two workers")

    def make(self):
        self.made.append(Worker())
        return self.made[-1]

    def ask(self, job=Worker.do, seconds=60.0, speakers=0):
        return self.do(job, speakers=speakers, due=time.time() + seconds)


@pytest.fixture
def pool(monkeypatch):
    monkeypatch.setattr(workers_module.ray, "get", lambda result: result)
    monkeypatch.setattr(workers_module, "_answers", lambda worker: not worker.dead)
    return Pool()


def test_a_worker_that_did_its_job_does_the_next(pool):
    assert [pool.ask() for _ in range(5)] == ["done"] * 5
    assert len(pool.made) == 2 == len(pool.free)


def test_a_job_is_lost_with_its_worker_and_another_worker_takes_the_place(pool):
    pool.free[-1].doomed = True
    with pytest.raises(WorkerLost, match="the worker with this job died"):
        pool.ask()
    wait_until(lambda: len(pool.free) == 2, seconds=10, what="the replacement")
    assert len(pool.made) == 3 and not any(worker.doomed for worker in pool.free)
    assert pool.ask() == "done"


def test_a_worker_that_died_idle_costs_no_job(pool):
    pool.free[-1].dead = True
    assert pool.ask() == "done"
    wait_until(lambda: len(pool.free) == 2, seconds=10, what="the replacement")
    assert len(pool.made) == 3 and not any(worker.dead for worker in pool.free)


def test_what_a_job_raises_is_passed_on_and_its_worker_goes_on(pool):
    def fail(worker):
        raise ValueError("the job's own")

    with pytest.raises(ValueError, match="the job's own"):
        pool.ask(fail)
    assert len(pool.made) == 2 == len(pool.free)


def test_the_job_with_the_most_speakers_goes_first(pool):
    (only, _), done = pool.free, []
    pool.free.clear()
    threads = []
    for waiting, speakers in enumerate((1, 5, 3, 5), start=1):

        def job(worker, speakers=speakers):
            done.append(speakers)
            return worker.do()

        threads.append(threading.Thread(target=pool.ask, args=(job,), kwargs={"speakers": speakers}))
        threads[-1].start()
        wait_until(lambda: len(pool._waiting) == waiting, seconds=10, what="a job that waits")  # noqa: B023
    pool.join(only)
    for thread in threads:
        thread.join(10)
    assert done == [5, 5, 3, 1]
    assert pool.free == [only]


def test_a_job_waits_for_a_worker_no_longer_than_its_result_is_wanted(pool):
    pool.free.clear()
    with pytest.raises(WorkerLost, match="no worker became free in time"):
        pool.ask(seconds=0.01)
