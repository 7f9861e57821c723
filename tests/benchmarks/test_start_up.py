"""Whose processor seconds a start's are."""

import os

import pytest

from benchmarks.processes import processor_seconds, processor_seconds_by
from benchmarks.start_up import COMMAND, RAY, SERVER, WORKERS, part_of


@pytest.mark.parametrize(
    ("command", "part"),
    [
        ("python -c from cli.main import main; main() run --nodes 8", COMMAND),
        ("/usr/bin/python -m cli.run.simulation_process", SERVER),
        ("ray::WorkerActor.answer", WORKERS),
        ("/lib/ray/core/src/ray/raylet/raylet --session=1", RAY),
    ],
)
def test_each_process_of_a_run_is_counted_in_its_part(command, part):
    assert part_of(command) == part


def test_the_parts_of_a_process_and_its_descendants_add_up():
    parts = processor_seconds_by(os.getpid(), lambda words: "python" if "python" in words else "other")
    assert sum(parts.values()) == pytest.approx(processor_seconds(os.getpid()), abs=0.5)
