"""A speaker leaves between the two halves of a run: the real server and real ClientApps, in one process."""

import pytest
from flwr.app import Context, MessageType, RecordDict

from cli.composing import default_config
from client import speaker_processes
from client.app import app
from client.state.departures import Departure, record
from client.state.node_state import node_state
from client.training.process import SpeakerProcess
from privacy import read_ledger
from recipes import RunConfig
from server.federation import run_federation
from server.storage.checkpoints import load_checkpoint
from server.storage.run_folder import RunFolder
from tests.corpora import make_corpus
from tests.strategies.flower import FakeGrid
from wire.messages import Task

ROUNDS, SPEAKERS = 3, 4


class Crash(Exception):
    """The power fails."""


@pytest.fixture
def trained(monkeypatch):
    """Who is trained, in order."""
    seen, order = [], SpeakerProcess._order

    def watched(self, speaker_round, *others):
        seen.append(speaker_round.speaker)
        return order(self, speaker_round, *others)

    monkeypatch.setattr(SpeakerProcess, "_order", watched)
    yield seen
    speaker_processes.forget()


def federate(corpus, nodes, flower_run, crash_in=0, **changes):
    """Run a federation of ClientApps that know nothing yet; returns its plan's population and its ledger."""
    speaker_processes.forget()
    flat = {
        **default_config(),
        "corpus.kind": "manifest",
        "corpus.path": str(corpus),
        "model.seed": "random",
        "training.rounds": ROUNDS,
        "training.cohort": float(SPEAKERS),
        "privacy.noise-multiplier": 1.0,
        "privacy.population-name": "ward",
        **changes,
    }

    def node(number, node_config):
        context = Context(flower_run, number, node_config, RecordDict(), flat)

        def answer(message):
            asked = message.metadata.message_type == MessageType.TRAIN and Task.from_message(message)[0]
            if asked and asked.round_number == crash_in:
                raise Crash
            return app(message, context).content

        return answer

    grid = FakeGrid({number: node(number, said) for number, said in enumerate(nodes, start=1)})
    folder = RunFolder(run_federation(grid, RunConfig.from_flat(flat), run_id=str(flower_run)))
    return load_checkpoint(folder.newest_checkpoint()).plan.population, read_ledger(folder.ledger)


@pytest.mark.parametrize("own", [True, False], ids=["speech of its own", "parts of the run's"])
def test_a_run_is_resumed_as_it_was_planned_and_who_left_is_not_trained(tmp_path, trained, own):
    corpus = make_corpus(tmp_path / "corpus", {"train": SPEAKERS, "test": 1}, utterances=1)
    everybody = {f"train-{number:02}" for number in range(SPEAKERS)}
    own_speech = [{"corpus-path": str(corpus), "limits": "none"}]
    nodes = own_speech if own else [{"partition-id": part, "num-partitions": 2} for part in range(2)]
    with pytest.raises(Crash):
        federate(corpus, nodes, 1, crash_in=2)
    assert set(trained) == everybody
    record(node_state({}), [Departure.now("train-01", "")])
    del trained[:]
    population, ledger = federate(corpus, nodes, 2, **{"run.resume": "latest"})
    assert population == SPEAKERS
    assert [entry.round for entry in ledger] == [1, 2, 3]
    assert len({entry.run for entry in ledger}) == 1
    assert sorted(trained) == sorted(2 * list(everybody - {"train-01"}))  # all are drawn in every round
    population, _ = federate(corpus, nodes, 3, **{"training.cohort": SPEAKERS - 1.0})
    assert population == SPEAKERS - 1
