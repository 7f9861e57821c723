"""The process of a simulation ends with the command, however that ends, and Ray with both."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from cli.processes import tool
from tests.processes import environment, wait_until

LAST = b"ray::WorkerActor"  # what a simulation starts


def living_in(session):
    """The command lines of the processes of a session."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(process.name)) == session:
                found.append((process / "cmdline").read_bytes())  # a process that has ended has none
        except OSError:
            continue
    return [command for command in found if command]


@pytest.mark.federation
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_that_was_started_outlives_a_signal(tmp_path, sent):
    process = subprocess.Popen(
        [tool("murmur"), "run"], env=environment(tmp_path), cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        wait_until(children.read_text, seconds=30, what="the simulation")
        simulation = int(children.read_text())
        wait_until(
            lambda: any(one.startswith(LAST) for one in living_in(simulation)), seconds=60, what="a worker"
        )
        process.send_signal(sent)
        _, said = process.communicate(timeout=30)
        if sent == signal.SIGKILL:
            assert process.returncode == -sent
        else:
            assert (process.returncode, "murmur run: stopped" in said) == (130, True)
        wait_until(lambda: not living_in(simulation), seconds=10, what="the end of all")
    finally:
        process.kill()
