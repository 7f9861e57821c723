"""Whoever controls the SuperLink lies about the approved release: its run, its bytes, its tasks, its rounds.

`tests/test_approval.py` plays other apps. Here the server's owner changes Flower's own parts: what the
SuperLink answers, and what the ServerApp sends in the name of a run of the approved bundle.
"""

import json
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from cli.deploy import credentials
from cli.processes import free_port
from tests import hostile_superlink
from tests.corpora import make_corpus
from tests.loopback import loopback, speaks_grpc
from tests.processes import run_command, server, wait_until

pytestmark = [pytest.mark.federation, pytest.mark.timeout(900)]

LIMITS = 'limits="none" most-rounds-per-speaker=1 most-clip-bound=1.0 least-noise-multiplier=0.2'
ASK = """
import json, os
from pathlib import Path
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict

def ask(grid, content, kind):
    asked = [Message(content, node, kind) for node in grid.get_node_ids()]
    return [
        reply.error.reason if reply.has_error() else reply.content
        for reply in grid.send_and_receive(asked, timeout=600)
    ]

def query(grid):
    return ask(grid, RecordDict({"query": ConfigRecord({"frozen": ""})}), MessageType.QUERY)

def words(answer):
    return answer if isinstance(answer, str) else str(dict(answer.get("answer", {})))

def loot(said):
    Path(os.environ["MURMUR_HOME"], "loot.json").write_text(json.dumps(said))
"""
REGISTRATION = (
    ASK
    + """
def main(grid, context):
    loot([words(one) for one in query(grid)])
"""
)


class Node:
    """A guarded node that can be ended and started again."""

    def __init__(self, made, name):
        self.made, self.name, folder = made, name, made.folder / name
        self.corpus = make_corpus(folder / "speech", {"train": 3})
        self.secret = credentials.make_secret(folder)[0]
        self.approved = folder / "approved"
        listed = run_command("murmur", "deploy", "approve", "--list", self.approved,
                             home=made.home, cwd=made.folder)  # fmt: skip
        assert listed.returncode == 0, listed.stdout
        self.starts = 0

    def start(self, stack):
        self.starts += 1
        port, name = free_port(), f"{self.name}-{self.starts}"
        stack.enter_context(self.made.isolated_supernode(name, self.corpus, port, self.secret, LIMITS))
        words = ["murmur", "deploy", "clientapp", "--supernode", f"127.0.0.1:{port}",
                 "--secret", self.secret, "--approved", self.approved]  # fmt: skip
        log = self.made.folder / f"{name}-clientapp.log"
        stack.enter_context(server(*words, home=self.made.home, log=log))

    @property
    def log(self):
        return self.made.log(f"{self.name}-{self.starts}-clientapp")


@pytest.fixture(scope="module")
def federation(tmp_path_factory):
    made = loopback(tmp_path_factory.mktemp("hostile"))
    tools = made.folder / "tools"
    tools.mkdir()
    program = Path(hostile_superlink.__file__)
    (tools / "flwr-serverapp").write_text(
        f'#!/bin/sh\nexec {sys.executable} -P {program} {hostile_superlink.SERVERAPP} "$@"\n'
    )
    (tools / "flwr-serverapp").chmod(0o755)
    with ExitStack() as stack:
        path = f"{tools}:{Path(sys.executable).parent}:/usr/bin:/bin"
        stack.enter_context(
            server(
                sys.executable, "-P", program, "--insecure", "--host", "127.0.0.1", "--port", made.runtime,
                "--fleet-api-address", f"127.0.0.1:{made.fleet}",
                home=made.home, log=made.folder / "superlink.log", variables={"PATH": path},
            )
        )  # fmt: skip
        wait_until(lambda: speaks_grpc(made.fleet), seconds=60, what="the SuperLink's gRPC port")
        stack.callback(made.commands.close)
        yield made


@pytest.fixture(scope="module")
def node(federation):
    return Node(federation, "guarded")


def started(federation, node, stack):
    node.start(stack)
    wait_until(lambda: federation.online() == 1, seconds=120, what="the node online")


@pytest.fixture
def running(federation, node):
    with ExitStack() as stack:
        started(federation, node, stack)
        yield node


def attack(federation, code, **lies):
    """Submit the approved release, and do this in its name; returns what the attacker got."""
    loot = federation.home / "loot.json"
    loot.unlink(missing_ok=True)
    (federation.home / "attack.py").write_text(code)
    (federation.home / "lies.json").write_text(json.dumps(lies))
    number = federation.submit(
        "training.rounds=5 training.cohort=20.0 privacy.noise-multiplier=0.5 privacy.delta=1e-6"
    )
    wait_until(lambda: federation.status(number).startswith("finished"), seconds=600, what="the run's end")
    assert loot.exists(), federation.flwr("log", number, "--show").stdout
    return json.loads(loot.read_text())


TRAIN = (
    ASK
    + """
from privacy import ClipBounds, Quantiser
from privacy.sums.packing import unpack
from privacy.released_metrics import STATISTICS
from speech.model.ctc_transformer import build_model
from strategies import bind
from wire.declared_plan import DeclaredPlan
from wire.messages import Answer, NodeFailed, Task, pack_vector

LAYOUT, VECTOR = bind(build_model("tiny", seed=1))
PLAN = DeclaredPlan(population=1000, cohort=20.0, rounds=5, noise_multiplier=0.5, epsilon=5.0, delta=1e-6)

def norm(grid, run, speakers, bound=0.5, plan=PLAN, **changes):
    bounds = ClipBounds.of("dim", bound, LAYOUT, statistics=len(STATISTICS))
    steps = Quantiser.of(bounds)
    task = Task(round_number=1, nonce="n", layout=LAYOUT.digest, speakers=tuple(speakers), bounds=bounds,
                quantiser=steps, run=run, plan=plan, **changes)
    asked = [task.to_message(node, pack_vector(VECTOR), 600) for node in grid.get_node_ids()]
    (reply,) = grid.send_and_receive(asked, timeout=600)
    try:
        answer = Answer.from_message(reply)
    except NodeFailed as refusal:
        return str(refusal)
    total = unpack(answer.packed, answer.count, bounds, steps)
    return float(total.double().norm()) * steps.step
"""
)


def test_a_lie_about_the_approved_release_gets_no_answer_of_it(federation, running):
    """Another folder, another kind of task; the node goes on with the honest run after each."""
    (told,) = attack(federation, REGISTRATION, run={"fab_version": "../../planted"})
    assert "have the server's owner submit the run again" in told
    (told,) = attack(federation, REGISTRATION, run={"primary_task_type": "flwr-agentapp"})
    assert "a node runs no flwr-agentapp; the server asked for it" in told
    assert "a node runs no flwr-agentapp" in running.log
    (told,) = attack(federation, REGISTRATION)
    assert "'speakers': 3" in told


def test_no_run_and_no_restart_gives_more_of_a_speaker_than_the_node_allows(federation, node):
    with ExitStack() as stack:
        started(federation, node, stack)
        once, again, two = attack(
            federation,
            TRAIN
            + """
def main(grid, context):
    loot([norm(grid, "a", [0]), norm(grid, "b", [0]), norm(grid, "c", [0, 1])])
""",
        )
        assert 0 < once <= 0.5 and again == 0
        assert 0 < two <= 0.5, "the other speaker pays for the one who was asked for too often"
    with ExitStack() as stack:  # all its processes were killed
        started(federation, node, stack)
        gone, *refused = attack(
            federation,
            TRAIN
            + """
from dataclasses import replace
def main(grid, context):
    weak = replace(PLAN, noise_multiplier=0.1)
    loot([
        norm(grid, "new", [0]), norm(grid, "e", [2, 2]), norm(grid, "e", [2], bound=1.5),
        norm(grid, "e", [2], plan=weak),
    ])
""",
        )
    assert gone == 0
    words = ("ValueError", "most-clip-bound = 1", "the server declares 0.1")
    for word, told in zip(words, refused, strict=True):
        assert word in str(told)
