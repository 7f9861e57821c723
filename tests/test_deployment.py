"""A federation of real processes: a SuperLink and two SuperNodes, talking gRPC over loopback.

Each SuperNode holds its own corpus, which only its own `--node-config` names.
"""

import pytest

from cli.composing import staged_app
from privacy import read_ledger
from tests.corpora import make_corpus
from tests.loopback import loopback, nodes

pytestmark = pytest.mark.federation


def test_two_supernodes_train_on_their_own_speech(tmp_path):
    made = loopback(tmp_path)
    held_out = make_corpus(tmp_path / "held-out", {"test": 2})
    config = (
        f'corpus.kind="manifest" corpus.path="{held_out}" model.seed="random" training.min-nodes=2 '
        "training.rounds=2 training.cohort=5.0 training.round-deadline-seconds=60.0 "
        'privacy.population-name="ward"'
    )
    with made.superlink("superlink"), nodes(made, 2, 3):
        done = made.flwr("run", staged_app(tmp_path / "app"), "--run-config", config, "--stream")
        assert "2 nodes with 5 speakers" in done.stdout, done.stdout
        metrics = made.metrics()
        assert [line["round"] for line in metrics] == [0, 1, 2]
        assert made.answered() == [(2, 2), (2, 2)]
        assert metrics[-1]["loss"] < metrics[0]["loss"]
        assert len(read_ledger(made.run_folder / "ledger.jsonl")) == 2
        assert "finished:completed" in made.flwr("ls", "--format", "json").stdout
