"""Local algorithms: each serves one speaker, and what one keeps or sends beside the update it declares."""

import subprocess
import sys

import pytest
import torch

from base.registries import LOCAL_ALGORITHMS
from cli.composing import default_config
from client.app import app
from client.training import algorithms
from client.training.algorithms import NOTHING, FedProx, LocalAlgorithm
from client.training.local_training import LocalTrainer
from recipes import ConfigError, RunConfig
from speech.model.ctc_transformer import build_model
from strategies import bind
from tests.client.test_app import context, task
from tests.client.training.test_local_training import TURN, settings
from tests.corpora import make_corpus


@pytest.fixture
def register():
    """Registers an algorithm for one test, in this process and those that it forks."""
    added = []

    def add(name, algorithm):
        LOCAL_ALGORITHMS.add(name)(algorithm)
        added.append(name)

    yield add
    for name in added:
        LOCAL_ALGORITHMS.remove(name)


class Quiet(LocalAlgorithm):
    """Declares nothing, and would send something if it were asked."""

    beside_the_update = NOTHING
    made: list["Quiet"] = []  # noqa: RUF012

    def __init__(self, settings):
        super().__init__(settings)
        self.steps = 0
        self.made.append(self)

    def after_clip_(self, gradients, correction):
        assert correction is None
        self.steps += 1

    def exchange(self, *arguments):
        raise AssertionError("an exchange that is not declared")


class Open(Quiet):
    beside_the_update = "a list of the words that were said"


class Silent(LocalAlgorithm):
    """Has no declaration."""


def run(algorithm, noise=0.6):
    flat = {**default_config(), "local.algorithm": algorithm, "privacy.noise-multiplier": noise}
    return RunConfig.from_flat(flat)


@pytest.mark.parametrize(
    ("algorithm", "words"),
    [(Open, "a list of the words that were said"), (Silent, "what it does not declare")],
)
def test_a_private_run_refuses_an_algorithm_by_its_declaration(register, algorithm, words):
    register("new", algorithm)
    with pytest.raises(ConfigError, match=f"local.algorithm = 'new': refused in a private run.*{words}"):
        run("new")
    assert run("new", noise=0.0).local.algorithm == "new"


def test_one_that_declares_nothing_may_be_private(register):
    register("new", Quiet)
    assert run("new").local.algorithm == "new"


def test_an_unknown_algorithm_is_refused_with_all_names(register):
    register("new", Quiet)
    with pytest.raises(ConfigError, match="'fedavg', 'fedprox', 'new', 'scaffold'"):
        run("fedavgg")


def test_only_scaffold_of_ours_declares_anything():
    declared = {name: LOCAL_ALGORITHMS[name].beside_the_update for name in LOCAL_ALGORITHMS}
    assert [name for name, what in declared.items() if what != NOTHING] == ["scaffold"]


def test_an_exchange_is_made_only_for_an_algorithm_that_declares_it(register, tmp_path):
    """Whatever its class has: the node does not call it, and the reply has the sum alone."""
    manifest = make_corpus(tmp_path, {"train": 1, "test": 1}, utterances=1)
    message, _ = task((0,))
    register("quiet", Quiet)
    register("open", Open)
    assert set(app(message, context(manifest, **{"local.algorithm": "quiet"})).content) == {"answer", "sum"}
    message, _ = task((0,))
    free = {"local.algorithm": "open", "privacy.noise-multiplier": 0.0}
    assert "AssertionError" in app(message, context(manifest, **free)).content["answer"]["problem"]


def test_each_speaker_has_an_algorithm_object_of_its_own(register, examples):
    register("quiet", Quiet)
    _, start = bind(build_model("tiny", seed=0))
    trainer = LocalTrainer(build_model("tiny"), settings(algorithm="quiet", epochs=1))
    Quiet.made.clear()
    for _ in range(2):
        _, report = trainer.update(start, examples, TURN)
    assert [one.steps for one in Quiet.made] == [report.steps] * 2


def test_fedprox_adds_its_gradient_block_by_block(monkeypatch):
    monkeypatch.setattr(algorithms, "BLOCK", 7)
    gradients, weights, start = torch.randn(3, 20, generator=torch.Generator().manual_seed(0))
    expected = gradients + 0.5 * (weights - start)
    FedProx(settings(algorithm="fedprox", proximal_mu=0.5)).before_clip_(gradients, weights, start)
    torch.testing.assert_close(gradients, expected)


def test_a_declaration_is_read_without_torch():
    code = (
        "import sys\n"
        "from recipes.run_config import beside_the_update\n"
        "assert beside_the_update('scaffold') and not beside_the_update('fedavg')\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
