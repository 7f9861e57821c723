"""Whose processor time a thread's is."""

import os
import subprocess
import sys
import threading

import pytest

from benchmarks.processes import Thread, threads
from benchmarks.round_parts import ELSE, NODES_WORK, RAY, SERVERS_WORK, TRAINING, Parts, part_of

RAYLET = "/lib/ray/core/src/ray/raylet/raylet --python_worker_command=/lib/default_worker.py"
FRESH = "python /lib/ray/_private/workers/default_worker.py --node-ip-address=127.0.0.1"


@pytest.mark.parametrize(
    ("name", "command", "parent", "first", "part"),
    [
        ("ray::WorkerActo", "ray::WorkerActor.answer", "ray::WorkerActor.answer", True, TRAINING),
        ("python", FRESH, FRESH, True, TRAINING),
        ("ray::WorkerActo", "ray::WorkerActor.answer", RAYLET, True, NODES_WORK),
        ("python", FRESH, RAYLET, True, NODES_WORK),
        ("worker.io", "ray::WorkerActor.answer", RAYLET, False, RAY),
        ("python", "/usr/bin/python -m cli.run.simulation_process", "python -c murmur", False, SERVERS_WORK),
        ("worker.io", "/usr/bin/python -m cli.run.simulation_process", "python -c murmur", False, RAY),
        ("raylet", RAYLET, "python", True, RAY),
        ("ray::DashboardA", "ray::DashboardAgent", RAYLET, True, RAY),
        ("python", "python -m speech.synthesis.espeak_worker", "ray::WorkerActor.answer", True, ELSE),
    ],
)
def test_each_thread_of_a_run_is_counted_in_its_part(name, command, parent, first, part):
    assert part_of(Thread(name, command, parent, first, 0.0)) == part


def test_a_process_has_the_time_of_its_ended_children():
    """The synthesis of speech ends a process for each utterance."""
    began = threads(os.getpid())[os.getpid()].seconds
    busy = "import time\nwhile time.process_time() < 0.4: pass"
    subprocess.run([sys.executable, "-c", busy], check=True)
    assert threads(os.getpid())[os.getpid()].seconds - began >= 0.4


def test_every_thread_of_a_process_is_counted_from_one_round_to_another(monkeypatch):
    """Also one whose process has taken another name since."""
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        found = threads(os.getpid())
    finally:
        stop.set()
        thread.join()
    assert found[os.getpid()].first and not found[thread.native_id].first
    parts = Parts(lambda thread: thread.command, first=2, last=4)
    for number in range(1, 6):
        seen = {7: Thread("a", f"command {number}", "", True, 10.0 * number)}
        monkeypatch.setattr("benchmarks.round_parts.threads", lambda pid, seen=seen: seen)
        parts.note(number, 1)
    assert dict(parts.seconds) == {"command 4": pytest.approx(20.0)}
