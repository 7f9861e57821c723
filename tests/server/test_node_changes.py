"""Nodes that join, leave, return or change between rounds: reported once, and not part of the plan."""

import pytest
import torch
from flwr.app import MessageType

from privacy import read_ledger
from server.federation import run_federation
from server.node_changes import NodeChanges, TooFewAnswers
from strategies import PopulationIndex
from tests.corpora import make_corpus
from tests.server.in_process import SPEAKERS, federate, part_of, recipe, silent_speakers
from tests.strategies.flower import FakeGrid
from wire.messages import Answer, Task

INDEX = PopulationIndex.of({1: 3, 2: 2})

QUICK = {"local.processor-seconds": 0.01}  # so that all have time within the deadline


@pytest.fixture(autouse=True)
def _nodes_that_take_no_time(monkeypatch):
    monkeypatch.setattr("server.planning.OVERHEAD_SECONDS", 0.0)


def test_nothing_is_reported_while_nothing_changes():
    node_changes = NodeChanges(INDEX)
    assert node_changes.update({1, 2}, set()) == []
    assert node_changes.remarks == []


def test_each_change_is_reported_once():
    node_changes = NodeChanges(INDEX)
    (left,) = node_changes.update({1}, set())
    assert left == "node 2 is disconnected, so 2 speakers cannot take part"
    assert node_changes.update({1}, set()) == []
    assert node_changes.update({1, 2}, set()) == ["node 2 is connected again"]
    (joined,) = node_changes.update({1, 2, 9}, set())
    assert "node 9 joined after registration: its speakers are never drawn" in joined
    (changed,) = node_changes.update({1, 2, 9}, {1})
    assert "the speech of node 1 changed after registration" in changed
    assert node_changes.update({1, 2, 9}, {1}) == []
    assert node_changes.remarks == [left, "node 2 is connected again", joined, changed]


class Moving(FakeGrid):
    """Node 2 is absent in round 2, node 9 joins in round 2, node 1 has other speech from round 3 on."""

    def __init__(self):
        super().__init__({1: self.node(3), 2: self.node(2)})
        self.asked, self.round = [], 0

    def node(self, speakers):
        def answer(message):
            if message.metadata.message_type == MessageType.QUERY:
                return part_of(message, speakers, "a")
            task, _ = Task.from_message(message)
            node = message.metadata.dst_node_id
            self.asked.append((task.round_number, node, max(task.speakers)))
            if (task.round_number, node) == (2, 2):
                return None
            now = "b" if task.round_number > 2 and node == 1 else task.dataset
            return Answer.of(task, torch.zeros(task.bounds.size, dtype=torch.int32), dataset=now).to_record()

        return answer

    def get_node_ids(self):
        self.round = max([0, *(number for number, _, _ in self.asked)])
        return {0: [1, 2], 1: [1, 2], 2: [1, 9]}.get(self.round, [1, 2, 9])


def test_a_federation_whose_nodes_come_and_go_keeps_to_its_plan(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MURMUR_HOME", str(tmp_path))
    corpus = make_corpus(tmp_path / "corpus", {"test": 1}, utterances=1)
    settings = {"training.cohort": 5.0, "training.round-deadline-seconds": 1.0, **QUICK}
    grid = Moving()
    folder = run_federation(grid, recipe(corpus, **settings), run_id="1")

    assert grid.asked == [(n, node, held - 1) for n in (1, 2, 3, 4) for node, held in ((1, 3), (2, 2))]
    entries = read_ledger(folder / "ledger.jsonl")
    assert [entry.release.sampling_rate for entry in entries] == [1.0] * 4
    shown = capsys.readouterr().out
    for remark in (
        "node 2 is disconnected",
        "node 2 is connected again",
        "node 9 joined",
        "the speech of node 1 changed",
    ):
        assert shown.count(f"       {remark}") == 1
        assert remark in (folder / "summary.txt").read_text()


def until_round(last, node):
    """`node`, which falls silent after round `last`."""

    def answer(message):
        training = message.metadata.message_type == MessageType.TRAIN
        return None if training and Task.from_message(message)[0].round_number > last else node(message)

    return answer


@pytest.mark.parametrize(("least", "lasting"), [(1, (2, 2)), (2, (9, 2)), (5, (2, 9))])
def test_rounds_without_enough_answers_do_not_use_up_the_budget(tmp_path, monkeypatch, least, lasting):
    """The network is down from round 3 on: that round is spent, the next is not drawn, the run resumes."""
    monkeypatch.setenv("MURMUR_HOME", str(tmp_path))
    corpus = make_corpus(tmp_path / "corpus", {"test": 1}, utterances=1)
    settings = {"training.cohort": 5.0, "training.round-deadline-seconds": 0.5, **QUICK}
    settings["training.min-answers"] = least
    nodes = {n: until_round(lasting[n - 1], silent_speakers(held)) for n, held in enumerate(SPEAKERS, 1)}
    said = rf"of 2 nodes answered in round 3, and training.min-answers = {least} \(node \d: no reply"
    with pytest.raises(TooFewAnswers, match=said):
        run_federation(FakeGrid(nodes), recipe(corpus, **settings), run_id="1")
    folder = (tmp_path / "runs" / "latest").resolve()
    assert [entry.round for entry in read_ledger(folder / "ledger.jsonl")] == [1, 2, 3]
    assert "stopped before the last round" in (folder / "summary.txt").read_text()
    assert federate(recipe(corpus, **settings, **{"run.resume": "latest"}), run_id="2") == folder
    assert [entry.round for entry in read_ledger(folder / "ledger.jsonl")] == [1, 2, 3, 4]


def test_without_a_minimum_a_run_goes_on_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("MURMUR_HOME", str(tmp_path))
    corpus = make_corpus(tmp_path / "corpus", {"test": 1}, utterances=1)
    settings = {
        "training.cohort": 5.0,
        "training.round-deadline-seconds": 0.2,
        "training.min-answers": 0,
        **QUICK,
    }
    nodes = {1: until_round(1, silent_speakers(3)), 2: until_round(1, silent_speakers(2))}
    folder = run_federation(FakeGrid(nodes), recipe(corpus, **settings), run_id="1")
    assert len(read_ledger(folder / "ledger.jsonl")) == 4
