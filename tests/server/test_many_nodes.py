"""A simulation that contacts more nodes in a round than messages are under way at a time."""

import json
from dataclasses import replace

import pytest
import torch
from flwr.app import Error, MessageType

from privacy import read_ledger
from server.federation import MESSAGES_UNDER_WAY, run_federation
from server.node_changes import RepliesRefused
from strategies import StreamingGrid
from tests.corpora import make_corpus
from tests.server.in_process import SimulatedGrid, part_of, recipe
from tests.strategies.federation import answer_to
from tests.strategies.flower import FakeGrid
from wire.messages import Answer, Task

NODES = 3 * MESSAGES_UNDER_WAY
# A private simulation waits for everybody as long as all of them may take.
SHORT = {"training.round-deadline-seconds": 0.5, "privacy.noise-multiplier": 0.0}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"), {"test": 1}, utterances=1)


def trained_by(answer):
    """A node with a silent speaker, whose `Answer` to a task goes through `answer`."""

    def node(message):
        if message.metadata.message_type == MessageType.QUERY:
            return part_of(message, 1, "corpus")
        task, vector = Task.from_message(message)
        return answer(answer_to(task, lambda number: torch.zeros(vector.numel())))

    return node


one_speaker = trained_by(Answer.to_record)


def nodes_of(node, number=NODES):
    """`node` with the others, each with one speaker in a part of its own; numbers from 1."""
    return {1: node} | dict.fromkeys(range(2, number + 1), one_speaker)


def lines_of(folder, what):
    lines = map(json.loads, (folder / "traffic.jsonl").read_text().splitlines())
    return [line for line in lines if what in line]


def rounds_of(folder):
    return lines_of(folder, "drawn")


def run(corpus, grid, **changes):
    everybody = float(len(grid.nodes))
    settings = {"training.rounds": 2, "training.cohort": everybody, "run.sentences-shown": 0, **changes}
    return run_federation(grid, recipe(corpus, **settings), run_id="1")


def latest(home):
    return (home / "runs" / "latest").resolve()


def test_every_reply_counts_at_three_times_the_window(corpus):
    grid = SimulatedGrid(nodes_of(one_speaker))
    folder = run(corpus, grid)
    for line in rounds_of(folder):
        assert (line["drawn"], line["nodes_asked"], line["nodes_answered"]) == (NODES, NODES, NODES)
        assert line["dropped"] == []
    assert grid.most_waiting <= MESSAGES_UNDER_WAY
    assert "left out" not in (folder / "summary.txt").read_text()


REFUSED = {
    "round": "round is 2, asked was 1",
    "nonce": "nonce is '', asked was",
    "layout": "layout is '', asked was",
    "count": "count is 2, asked was 1",
    "packed": "Expected",
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_simulation_with_a_refused_reply_ends_with_an_error(corpus, what, monkeypatch, tmp_path):
    """It has spent and released the round first, as every other."""
    monkeypatch.setenv("MURMUR_HOME", str(tmp_path))
    wrong = {"round": 2, "nonce": "", "layout": "", "count": 2}

    def spoilt(answer):
        changed = answer.packed[:-1].copy() if what == "packed" else wrong[what]
        return replace(answer, **{what if what != "round" else "round_number": changed}).to_record()

    with pytest.raises(RepliesRefused, match=r"1 of 3 simulated nodes .* round 1 \(node 1: .*error of murm"):
        run(corpus, SimulatedGrid(nodes_of(trained_by(spoilt), 3)))
    folder = latest(tmp_path)
    assert [entry.round for entry in read_ledger(folder / "ledger.jsonl")] == [1]
    (line,) = rounds_of(folder)
    assert line["nodes_answered"] == 2
    (drop,) = line["dropped"]
    assert drop["refused"] and REFUSED[what] in drop["reason"]
    assert "stopped before the last round: the replies of 1 of 3" in (folder / "summary.txt").read_text()
    assert (folder / "model.safetensors").exists()


@pytest.mark.parametrize(
    "fault", [lambda answer: Error(code=8, reason="the worker that was at it died"), lambda answer: None]
)
def test_a_simulated_node_that_fails_or_is_silent_is_a_note(corpus, fault):
    folder = run(corpus, SimulatedGrid(nodes_of(trained_by(fault), 3)), **SHORT)
    lines = rounds_of(folder)
    assert [line["nodes_answered"] for line in lines] == [2, 2]
    assert not any(drop["refused"] for line in lines for drop in line["dropped"])


def test_a_node_elsewhere_that_lies_is_a_note(corpus):
    """Else one node could end everybody's run."""
    lying = trained_by(lambda answer: replace(answer, nonce="guessed").to_record())
    lines = rounds_of(run(corpus, FakeGrid(nodes_of(lying, 3))))
    assert [line["nodes_answered"] for line in lines] == [2, 2]
    assert all(drop["refused"] for line in lines for drop in line["dropped"])


def test_nodes_whose_turn_never_came_are_told_apart_and_were_sent_nothing(corpus):
    """Here the nodes of the first window are silent until the deadline."""
    asking = dict.fromkeys(range(1, MESSAGES_UNDER_WAY + 1), trained_by(lambda answer: None))
    grid = SimulatedGrid(nodes_of(one_speaker, MESSAGES_UNDER_WAY + 5) | asking)
    folder = run(corpus, grid, **SHORT, **{"training.rounds": 1, "training.min-answers": 0})
    (line,) = rounds_of(folder)
    reasons = [drop["reason"] for drop in line["dropped"]]
    assert sum("it was not asked" in reason for reason in reasons) == 5
    assert sum("no reply before the deadline" in reason for reason in reasons) == MESSAGES_UNDER_WAY
    sent = [
        one for one in map(json.loads, (folder / "traffic.jsonl").read_text().splitlines()) if "node" in one
    ]
    assert len(sent) == MESSAGES_UNDER_WAY


def test_a_simulation_with_many_workers_has_more_messages_under_way(corpus, monkeypatch):
    windows = []

    class Watched(StreamingGrid):
        def __init__(self, grid, *, window, **options):
            windows.append(window)
            super().__init__(grid, window=window, **options)

    monkeypatch.setattr("server.federation.StreamingGrid", Watched)
    config = recipe(corpus, **{"training.rounds": 1, "training.cohort": 2.0, **SHORT})
    for workers in (0, 8, 100):
        run_federation(SimulatedGrid(nodes_of(one_speaker, 2)), config, run_id="1", workers=workers)
    assert windows == [64, 64, 400]
