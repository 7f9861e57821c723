"""The workers of a simulation, here without Ray; with Ray: tests/test_ray_cluster.py."""

import itertools
import random
import threading
import time
import weakref

import pytest
from ray.exceptions import ActorDiedError

from client.simulation import workers as workers_module
from client.simulation.workers import Job, WorkerLost, Workers
from tests.processes import wait_until


class Worker:
    """Does the jobs of a call; at one of `deadly` it dies, and those in `wrong` raise."""

    def __init__(self):
        self.dead = False
        self.calls = []


class Pool(Workers):
    """Two workers; `made` are all that were ever started, `results` what the jobs came to."""

    def __init__(self, deadly=(), wrong=(), late=False, unaskable=None):
        self.made, self.results, self.deadly, self.wrong = [], {}, set(deadly), set(wrong)
        self.unaskable = unaskable  # what no worker can be asked for
        self.told_again = []
        self.late = late  # the results of a call come together, at its end
        self.held, self.steps = threading.Event(), None
        self.held.set()
        super().__init__(self.make, self.ask)

    def make(self):
        self.made.append(Worker())
        return self.made[-1]

    def ask(self, worker, works):
        worker.calls.append([*works])
        if self.unaskable in works:
            raise TypeError("it cannot be sent")
        return self.in_turn(worker, works)

    def in_turn(self, worker, works):
        yield from [*self.done_by(worker, works)] if self.late else self.done_by(worker, works)

    def done_by(self, worker, works):
        for work in works:
            assert self.held.wait(10)
            assert self.steps is None or self.steps.acquire(timeout=10)
            if worker.dead:
                raise ActorDiedError()
            if work in self.deadly:
                worker.dead = True
                raise ActorDiedError()
            if work in self.wrong:
                raise ValueError("the call's own")
            yield f"{work} done"

    def give(self, work, speakers=0, seconds=60.0):
        job = Job(work=work, speakers=speakers, due=time.time() + seconds, done=lambda r: self.note(work, r))
        self.add(job)

    def part(self, work, begin, end):
        """A job that may be divided; its work is (`work`, begin, end)."""
        made = (work, begin, end)
        return Job(
            work=made,
            speakers=end - begin,
            due=time.time() + 60,
            done=lambda result: self.note(made, result),
            divide=lambda n: (self.part(work, begin, begin + n), self.part(work, begin + n, end)),
        )

    def note(self, work, result):
        if work in self.results:
            self.told_again.append(work)
        self.results[work] = result

    def finished(self, *works):
        wait_until(lambda: set(works) <= set(self.results), seconds=10, what="all results")
        return [self.results[work] for work in works]

    @property
    def sizes(self):
        return [len(call) for worker in self.made for call in worker.calls]


@pytest.fixture
def pool_of(monkeypatch):
    """Makes pools, and stops them at the end."""
    made = []

    def make(workers=2, **given):
        made.append(Pool(**given))
        made[-1].start(workers)
        wait_until(lambda: len(made[-1].present) == workers, seconds=10, what="the workers")
        return made[-1]

    monkeypatch.setattr(workers_module.ray, "get", lambda result: result)
    monkeypatch.setattr(workers_module, "_answers", lambda worker: not worker.dead)
    monkeypatch.setattr(workers_module, "AHEAD_SECONDS", 60.0)  # a held job is a slow one
    yield make
    for one in made:
        one.stop()
        assert not one.told_again


def held_at_first(pool):
    """Have the only worker be at a job of its own while others come."""
    pool.held.clear()
    pool.give("first")
    wait_until(lambda: pool.made[0].calls, seconds=10, what="the first job")


def after_first(pool, *jobs):
    """Have `jobs` (work, speakers) wait until the worker has done its first, and hold it there."""
    held_at_first(pool)
    for work, speakers in jobs:
        pool.give(work, speakers)
    pool.steps = threading.Semaphore(1)  # for "first" alone
    pool.held.set()
    pool.finished("first")


def stopped(pool, *jobs):
    """Have `jobs` (work, speakers) wait until all of them are there, and then be done."""
    held_at_first(pool)
    for work, speakers in jobs:
        pool.give(work, speakers)
    pool.held.set()
    return pool.finished(*(work for work, _ in jobs))


def test_a_worker_that_did_its_job_does_the_next(pool_of):
    pool = pool_of()
    for number in range(5):
        pool.give(number)
        assert pool.finished(number) == [f"{number} done"]
    assert len(pool.made) == 2 == len(pool.present)


def test_calls_become_smaller_so_that_no_worker_is_left_with_many_jobs(pool_of):
    pool = pool_of(workers=1)
    stopped(pool, *((number, 1) for number in range(32)))
    assert pool.sizes == [1, 16, 8, 4, 2, 1, 1]


def test_the_job_with_the_most_speakers_goes_first_and_a_large_one_alone(pool_of):
    pool = pool_of(workers=1)
    stopped(pool, ("one", 1), ("nine", 9), ("three", 3), ("nine too", 9), ("query", 0))
    assert [*pool.made[0].calls] == [["first"], ["nine"], ["nine too"], ["three"], ["one"], ["query"]]


def test_a_long_job_is_divided_so_that_no_worker_is_left_with_it(pool_of):
    pool = pool_of(workers=1)
    pool._count = 2  # a second one that is always busy
    held_at_first(pool)
    for work in "abcd":
        pool.add(pool.part(work, 0, 8))
    pool.held.set()
    wait_until(lambda: not pool._waiting and len(pool.results) == sum(pool.sizes), seconds=10, what="them")
    parts = sorted(work for work in pool.results if work != "first")
    for work in "abcd":
        ends = [0, *(end for name, _, end in parts if name == work)]
        assert [(work, *pair) for pair in itertools.pairwise(ends)] == [
            one for one in parts if one[0] == work
        ]
        assert ends[-1] == 8
    sizes = [sum(end - begin for _, begin, end in call) for call in pool.made[0].calls[1:]]
    assert sizes == [8, 8, 4, 3, 3, 2, 1, 1, 1, 1]


def test_what_is_divided_off_goes_to_a_worker_that_is_idle(pool_of):
    pool = pool_of(workers=2)
    pool.held.clear()
    pool.add(pool.part("a", 0, 8))
    wait_until(lambda: all(worker.calls for worker in pool.made), seconds=10, what="both workers")
    pool.held.set()
    wait_until(lambda: sum(end - begin for _, begin, end in pool.results) == 8, seconds=10, what="them")
    assert max(end - begin for _, begin, end in pool.results) == 2


def test_a_call_waits_behind_the_one_that_a_worker_is_at(pool_of):
    pool = pool_of(workers=1)
    after_first(pool, *((number, 0) for number in range(8)))
    assert pool.made[0].calls == [["first"], [0, 1, 2, 3], [4, 5]]
    pool.steps.release(8)
    pool.finished(*range(8))
    assert pool.sizes == [1, 4, 2, 1, 1]


def test_none_waits_behind_a_call_of_which_much_is_left(pool_of, monkeypatch):
    """The worker may be slow, and the others be free before it."""
    pool = pool_of(workers=1)
    monkeypatch.setattr(workers_module, "AHEAD_SECONDS", 0.0)
    after_first(pool, *((number, 0) for number in range(8)))
    assert pool.made[0].calls == [["first"], [0, 1, 2, 3]]
    pool.steps.release(8)
    pool.finished(*range(8))


def test_none_waits_behind_that_does_not_fit_into_its_share(pool_of):
    pool = pool_of(workers=1)
    after_first(pool, (0, 32), (1, 32))  # as for hosts, whose messages no one divides
    assert pool.made[0].calls == [["first"], [0]]
    pool.steps.release(2)
    pool.finished(0, 1)


def test_a_worker_that_dies_costs_nothing_of_the_call_behind(pool_of):
    pool = pool_of(workers=1, deadly=[3])
    results = stopped(pool, *((number, 1) for number in range(8)))
    assert [number for number in range(8) if isinstance(results[number], WorkerLost)] == [3]
    assert pool.made[0].calls == [["first"], [0, 1, 2, 3], [4, 5]]
    # Which job killed it is certain only where no call was behind.
    again = [call for worker in pool.made[1:] for call in worker.calls]
    assert [3] in again
    assert len(pool.made) == 3


def test_what_cannot_be_asked_fails_alone_and_its_worker_goes_on(pool_of):
    pool = pool_of(workers=1, unaskable=1)
    results = stopped(pool, *((number, 1) for number in range(6)))
    assert [str(one) for one in results[:3]] == ["it cannot be sent"] * 3
    assert results[3:] == [f"{number} done" for number in range(3, 6)]
    assert pool.present == pool.made


@pytest.mark.parametrize("late", [False, True], ids=["results as they come", "results together"])
def test_only_the_job_is_lost_at_which_workers_die_however_results_come(pool_of, late):
    pool = pool_of(workers=1, deadly=[1], late=late)
    results = stopped(pool, *((number, 1) for number in range(8)))
    assert isinstance(results[1], WorkerLost) and str(results[1]) == "the worker with this job died"
    assert [results[0], *results[2:]] == [f"{number} done" for number in (0, *range(2, 8))]
    assert pool.made[0].calls[1] == [0, 1, 2, 3]
    once_more = [call for worker in pool.made[1:] for call in worker.calls]
    assert all([number] in once_more for number in ((0, 1, 2, 3) if late else (1, 2, 3)))
    assert len(pool.made) == 3 and pool.present == [pool.made[2]]


def test_a_job_alone_in_a_call_is_lost_at_once_with_its_worker(pool_of):
    pool = pool_of(workers=1, deadly=["job"])
    pool.give("job")
    (lost,) = pool.finished("job")
    assert isinstance(lost, WorkerLost) and len(pool.made) == 2


def test_a_worker_that_died_idle_costs_no_job(pool_of):
    pool = pool_of(workers=1)
    pool.made[0].dead = True
    pool.give("job")
    assert pool.finished("job") == ["job done"]
    assert len(pool.made) == 2 and pool.present == [pool.made[1]]


class Fate:
    """The jobs at which workers die: always at those of `deadly`, now and then at others; `met` are both."""

    def __init__(self, chance, deadly):
        self.chance, self.deadly, self.met = chance, deadly, set()

    def __contains__(self, job):
        if met := job in self.deadly or self.chance.random() < 0.03:
            self.met.add(job)
        return met


@pytest.mark.usefixtures("pool_of")
@pytest.mark.parametrize("late", [False, True], ids=["results as they come", "results together"])
def test_however_workers_die_each_job_is_told_of_once_and_lost_only_if_one_died_at_it(late):
    for seed in range(25):
        chance = random.Random(seed)
        jobs = [(number, 0, chance.choice([0, 1, 1, 2, 3, 8, 20])) for number in range(30)]
        pool, whole = Pool(late=late), sum(max(1, size) for _, _, size in jobs)
        pool.deadly = Fate(chance, set(jobs[:3]))
        pool.start(chance.choice([1, 2, 4]))
        for job in jobs:
            if job in pool.deadly.deadly or chance.random() < 0.5:
                pool.give(job, speakers=job[2])
            else:
                pool.add(pool.part(*job))
        deadline = time.monotonic() + 20
        while sum(max(1, end - begin) for _, begin, end in [*pool.results]) < whole:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        pool.stop()
        assert not pool.told_again
        lost = {job for job, result in pool.results.items() if isinstance(result, WorkerLost)}
        assert pool.deadly.deadly <= lost <= pool.deadly.met
        ends = {(number, 0) for number, _, _ in jobs}  # each part begins where another ends
        for number, begin, end in sorted(pool.results):
            ends.remove((number, begin))
            ends.add((number, end))
        assert ends == {(number, size) for number, _, size in jobs}


def test_a_result_is_let_go_when_it_is_taken(pool_of):
    """With a large model each takes gigabytes, and the next may come minutes later."""
    pool, taken = pool_of(workers=1), []
    pool.steps = threading.Semaphore(0)
    pool.in_turn = lambda worker, works: (set() for _ in works if pool.steps.acquire(timeout=60))
    for number in range(4):
        due, done = time.time() + 60, lambda result: taken.append(weakref.ref(result))
        pool.add(Job(work=number, speakers=1, due=due, done=done))
    pool.steps.release()
    wait_until(lambda: taken and taken[0]() is None, seconds=10, what="the end of the first")
    pool.steps.release(3)


def test_a_job_does_not_wait_for_the_replacement_of_a_worker_that_died_idle(pool_of):
    pool, room = pool_of(workers=2), threading.Event()
    pool._create = lambda: room.wait(60) and pool.make()
    pool.made[0].dead = True
    for job in ("one", "another"):  # one of them wakes the thread of the dead worker
        pool.give(job)
        assert pool.finished(job) == [f"{job} done"]
    assert pool.made[1].calls == [["one"], ["another"]]
    room.set()
    wait_until(lambda: len(pool.present) == 2, seconds=10, what="the replacement")


def test_a_job_that_is_done_alone_waits_behind_no_call(pool_of):
    pool = pool_of(workers=1, deadly=["large"])
    held_at_first(pool)
    again = pool.part("again", 0, 4)
    pool._give_back([again], alone=True)
    pool.give("large", speakers=8)
    pool.held.set()
    lost, _ = pool.finished("large", again.work)
    assert isinstance(lost, WorkerLost)
    assert [worker.calls for worker in pool.made] == [[["first"], ["large"]], [[again.work]]]


def test_a_fault_of_a_call_fails_what_it_has_not_answered_and_its_worker_goes_on(pool_of):
    pool = pool_of(workers=1, wrong=[1])
    results = stopped(pool, *((number, 1) for number in range(4)))
    assert results[0] == "0 done" and str(results[1]) == "the call's own"
    assert results[2:] == ["2 done", "3 done"]  # of a later call
    assert pool.present == pool.made


def test_a_job_that_nobody_began_in_time_is_lost_and_the_others_are_done(pool_of):
    pool = pool_of(workers=1)
    held_at_first(pool)
    pool.give("late", speakers=2, seconds=-1.0)
    pool.give("in time")
    pool.held.set()
    late, in_time = pool.finished("late", "in time")
    assert isinstance(late, WorkerLost) and str(late) == "no worker became free in time"
    assert in_time == "in time done"


def test_after_the_end_no_job_is_begun(pool_of):
    pool = pool_of(workers=1)
    pool.stop()
    wait_until(lambda: not pool.present, seconds=10, what="the end")
    pool.give("job")
    assert not pool.results and len(pool._waiting) == 1
