"""Whose processor time a thread's is."""

import os
import threading

import pytest

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
        ("raylet", "/lib/ray/core/src/ray/raylet/raylet --session=1", "python", RAY),
        ("python", "python -m speech.synthesis.espeak_worker", "ray::WorkerActor.answer", ELSE),
    ],
)
def test_each_thread_of_a_run_is_counted_in_its_part(name, command, parent, part):
    assert part_of(Thread(1, name, command, parent)) == part


def test_every_thread_of_a_process_is_counted_from_one_round_to_another():
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        numbers = {one.number for one in processor_seconds_of_threads(os.getpid())}
    finally:
        stop.set()
        thread.join()
    assert {os.getpid(), thread.native_id} <= numbers
    parts = Parts(lambda thread: "all", first=2, last=4)
    for number in range(1, 6):
        sum(range(200_000))
        parts.note(number, os.getpid())
        if number == 2:
            counted = sum(parts._before.values())
    assert parts.seconds["all"] == pytest.approx(sum(parts._before.values()) - counted)
