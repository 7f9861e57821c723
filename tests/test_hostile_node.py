"""Registered nodes that send bombs, among two honest SuperNodes on a real SuperLink."""

from contextlib import ExitStack
from pathlib import Path

import pytest
from flwr.app import Error, Message

from cli.composing import staged_app
from tests.bomb_node import REPEATED, Bomb, Hostile
from tests.corpora import make_corpus
from tests.fleet import at_work, fleet_node
from tests.forged import array, chunk, honest, with_array
from tests.loopback import loopback, nodes, serverapp_of
from wire.node_info import NodeInfo

pytestmark = pytest.mark.federation

MOST_BYTES = 1_500_000_000  # of a ServerApp with all its libraries


BOMBS = (
    REPEATED,
    Bomb(
        lambda question: with_array(question, array([chunk(bytes(40_000_000))])),
        "an object of it comes in 40,000,0",
    ),
    Bomb(
        lambda question: honest(Message(Error(2, "no"), reply_to=question)),
        "it is announced in 5,000,",
        reason="x" * 5_000_000,
    ),
)


class Peak:
    """The most memory that a ServerApp of this home has held."""

    def __init__(self, home: Path) -> None:
        self.bytes, self._home = 0, home

    def turn(self) -> None:
        self.bytes = max([self.bytes, *map(peak_bytes, serverapp_of(self._home))])


def peak_bytes(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def test_nodes_with_bombs_are_left_out_by_name_and_the_run_completes(tmp_path):
    made = loopback(tmp_path)
    held_out = make_corpus(tmp_path / "held-out", {"test": 2})
    config = (
        f'corpus.kind="manifest" corpus.path="{held_out}" model.seed="random" training.min-nodes=5 '
        "training.rounds=1 training.cohort=11.0 training.round-deadline-seconds=60.0 "
        'privacy.population-name="ward"'
    )
    with made.superlink("superlink"), nodes(made, 2, 3), ExitStack() as stack:
        ends = [stack.enter_context(fleet_node(f"127.0.0.1:{made.fleet}")) for _ in BOMBS]
        held = [NodeInfo(speakers=2, dataset="elsewhere", split="train", part=i, parts=3) for i in range(3)]
        hostile = [Hostile(*one) for one in zip(ends, BOMBS, held, strict=True)]
        peak = Peak(made.home)
        stack.enter_context(at_work(*hostile, peak, pause_seconds=0.2))
        done = made.flwr("run", staged_app(tmp_path / "app"), "--run-config", config, "--stream")
        assert made.answered() == [(5, 2)], done.stdout
        for one in hostile:
            assert len(one.sent) == 1
            said = f"node {one.end.node_id} left out: the reply is refused: {one.bomb.said}"
            assert said in done.stdout, done.stdout
        assert "finished:completed" in made.flwr("ls", "--format", "json").stdout
        assert 0 < peak.bytes < MOST_BYTES
