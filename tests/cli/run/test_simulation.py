"""The process of a simulation ends with the command, however that ends, and Ray with both."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from flwr.app import Context, RecordDict

from cli.processes import tool
from cli.run.simulation import OWN_RAY, Federation
from cli.run.simulation_process import _server_app, await_nodes
from tests.processes import all_processes, environment, run_command, title, wait_until
from tests.ray_cluster import WORKER
from tests.strategies.flower import FakeGrid


def living_in(session):
    """The titles of the processes of a session."""

    def belongs(number):
        try:
            return os.getsid(number) == session
        except ProcessLookupError:
            return False

    return [said for number in all_processes() if belongs(number) and (said := title(number))]


def test_a_run_begins_when_all_its_nodes_are_registered(monkeypatch):
    """Flower starts the ServerApp before it has registered them."""

    class Growing(FakeGrid):
        def get_node_ids(self):
            self.nodes[len(self.nodes) + 1] = None
            return list(self.nodes)

    begun_with = []
    monkeypatch.setattr("server.entry.serve", lambda grid, *_: begun_with.append(len(grid.nodes)))
    context = Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config={})
    federation = Federation(
        config={}, supernodes=40, cpus_per_node=1, gpus_per_node=0.0, ray_address=OWN_RAY, verbose=False
    )
    _server_app(federation, workers=2)(grid=Growing({}), context=context)
    assert begun_with == [40]
    await_nodes(FakeGrid({}), 1, seconds=0.05)  # nor is a run held up for ever


@pytest.mark.federation
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_that_was_started_outlives_a_signal(tmp_path, sent):
    process = subprocess.Popen(
        [tool("murmur"), "run"],
        env=environment(tmp_path),
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        # A shell lets what it starts in the background ignore Ctrl-C, and a child would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        wait_until(children.read_text, seconds=30, what="the simulation")
        simulation = int(children.read_text())
        wait_until(
            lambda: any(one.startswith(WORKER) for one in living_in(simulation)),
            seconds=60,
            what=lambda: f"a worker of {simulation}, {title(simulation)!r}, among {living_in(simulation)}",
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


def run_with_ray(tmp_path, code):
    """`murmur run` where the package `ray` is this code."""
    package = tmp_path / "modules" / "ray"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(code)
    path = os.pathsep.join([str(package.parent), os.environ.get("PYTHONPATH", "")])
    return run_command("murmur", "run", home=tmp_path, cwd=tmp_path, variables={"PYTHONPATH": path})


def test_a_process_that_cannot_even_be_loaded_is_a_run_that_failed(tmp_path):
    done = run_with_ray(tmp_path, 'raise ImportError("no Ray here")')
    assert (done.returncode, "no Ray here" in done.stdout) == (1, True)
    assert "murmur run: the run failed, see above" in done.stdout


def test_a_ray_that_does_not_start_is_told_in_one_line_with_what_to_do(tmp_path):
    """On a busy machine Ray gives up after 30 seconds, with an exception of no class of its own."""
    done = run_with_ray(tmp_path, 'def init(*_, **__): raise Exception("The current node timed out.")')
    assert done.returncode == 1
    assert done.stdout.splitlines()[-2:] == [
        "murmur run: Ray's processes did not start on this machine (The current node timed out.). Most often "
        "it is too busy: end other processes, or wait for them, and run the command again; nothing was drawn "
        "or spent",
        "murmur run: the run failed, see above",
    ]
    assert "Traceback" not in done.stdout
