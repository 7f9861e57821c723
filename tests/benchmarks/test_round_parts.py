"""Whose processor time a thread's is."""

import os
import threading

import pytest

from benchmarks import round_parts
from benchmarks.processes import Thread, processor_seconds_of_threads
from benchmarks.round_parts import ELSE, NODES_WORK, RAY, SERVERS_WORK, TRAINING, Parts, part_of


@pytest.mark.parametrize(
    ("name", "command", "parent", "part"),
    [
        ("ray::WorkerActo", "ray::WorkerActor.answer", "ray::WorkerActor.answer", TRAINING),
        ("ray::WorkerActo", "ray::WorkerActor.answer", "/lib/ray/core/src/ray/raylet/raylet", NODES_WORK),
        ("worker.io", "ray::WorkerActor.answer", "/lib/ray/core/src/ray/raylet/raylet", RAY),
        ("python", "/usr/bin/python -m cli.run.simulation_process", "python -c murmur", SERVERS_WORK),
        ("worker.io", "/usr/bin/python -m cli.run.simulation_process", "python -c murmur", RAY),
        ("ray::DashboardA", "ray::DashboardAgent", "/lib/ray/core/src/ray/raylet/raylet", RAY),
        ("raylet", "/lib/ray/core/src/ray/raylet/raylet --session=1", "python", RAY),
        ("python", "python -m speech.synthesis.espeak_worker", "ray::WorkerActor.answer", ELSE),
    ],
)
def test_each_thread_of_a_run_is_counted_in_its_part(name, command, parent, part):
    assert part_of(Thread(1, name, command, parent)) == part


def test_every_thread_of_a_process_is_found():
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        numbers = {one.number for one in processor_seconds_of_threads(os.getpid())}
    finally:
        stop.set()
        thread.join()
    assert {os.getpid(), thread.native_id} <= numbers


def test_what_threads_take_from_one_round_to_another_is_counted_by_part(monkeypatch):
    ended, idle, busy, new = (
        Thread(number, "ray::WorkerActo", f"ray::WorkerActor{method}", "raylet")
        for number, method in ((1, ""), (2, ""), (2, ".answer"), (3, ""))
    )
    found = iter([{ended: 5.0, idle: 1.0}, {busy: 1.5, new: 0.25}])
    monkeypatch.setattr(round_parts, "processor_seconds_of_threads", lambda pid: next(found))
    parts = Parts(lambda thread: f"of {thread.number}", first=2, last=4)
    for number in range(1, 6):
        parts.note(number, os.getpid())
    assert parts.seconds == {"of 2": 0.5, "of 3": 0.25}
