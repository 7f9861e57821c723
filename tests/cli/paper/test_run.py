"""`murmur paper run` hands a row to what `murmur run` uses, and prints ours beside theirs.

The nodes answer in this process; tests/test_simulation.py has runs on Flower's simulation engine.
"""

from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

import cli.run.command
from cli.main import app
from cli.paper.rows import find_row
from recipes import RunConfig
from tests.corpora import make_corpus
from tests.server.in_process import federate

TOY = (
    "model.name=tiny training.rounds=1 training.cohort=2 run.evaluation-device=cpu corpus.feature-cache=false"
)
ROW = "4/none/64"


class InProcess:
    """In place of Flower's simulation."""

    def __init__(self) -> None:
        self.configs: list[RunConfig] = []

    def run(self, federation) -> bool:
        self.configs.append(RunConfig.from_flat(federation.config))
        federate(self.configs[-1])
        return True


@pytest.fixture
def engine(monkeypatch):
    made = InProcess()

    @contextmanager
    def simulation():
        yield made

    monkeypatch.setattr(cli.run.command, "simulation", simulation)
    return made


@pytest.fixture
def corpus(tmp_path):
    return make_corpus(tmp_path / "corpus", {"train": 5, "test": 2}, utterances=1)


def murmur(*arguments):
    return CliRunner().invoke(app, ["paper", *map(str, arguments)])


def test_a_row_is_run_and_compared(engine, corpus):
    done = murmur("run", ROW, "--corpus", corpus, "--nodes", 2, "--set", TOY)
    assert done.exit_code == 0, done.output
    (config,) = engine.configs
    assert (config.corpus.path, config.model.seed, config.model.name) == (str(corpus), "random", "tiny")
    row = find_row(ROW).recipe
    assert config.server.learning_rate == row["server.learning-rate"] == 0.006
    assert (config.server.optimiser, config.local.batch_seconds) == ("lamb", 120)
    said = [line.split() for line in done.stdout.splitlines()]
    (test,) = [line for line in said if line[:1] == ["test"]]
    assert test[:4] == ["test", "100.0", "38.0", "18.2"] and float(test[5]) > 0
    assert ["dev", "100.0", "32.9", "15.1", "-", "-", "-"] in said
    assert "--split dev" in done.stdout
    assert "epsilon at the real population: printed none, ours no privacy (RDP)" in done.stdout
    assert "not the row as the paper has it; these settings differ:" in done.stdout
    differing = {line[0] for line in said if line[1:2] == ["="]}
    assert differing == {"model.name", "training.rounds", "training.cohort"}
    assert murmur("compare", ROW).stdout.strip() in done.stdout


def test_faults_end_the_command_before_anything_is_run(engine, corpus):
    faults = {
        ("4/ls-100/64", "--corpus", corpus): "it starts from ls-100; give that model by --seed",
        (ROW, "--corpus", corpus, "--seed", "x"): "it starts from random weights; leave out --seed x",
        ("4/none/63", "--corpus", corpus): "did you mean 4/none/64",
        (ROW, "--corpus", corpus / "none"): "none",
        (ROW, "--corpus", corpus, "--set", "training.round=1"): "did you mean 'training.rounds'",
    }
    for arguments, message in faults.items():
        done = murmur("run", *arguments)
        assert (done.exit_code, message in done.stderr) == (2, True), done.output
    assert not engine.configs
    assert "it has no evaluation.json" in murmur("compare", ROW).stderr


def test_what_a_row_leaves_open_is_said_first(engine, corpus):
    done = murmur("run", "7/pre/paper", "--corpus", corpus / "none")
    assert "7/pre/paper: unknown: learning rates" in done.stderr
    assert "7/pre/paper: our settings cannot express: a cohort of exactly one" in done.stderr
