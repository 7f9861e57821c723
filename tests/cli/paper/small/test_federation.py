"""A federation in one process: how many nodes hold the speakers changes nothing, to the bit."""

import pytest
import torch
from safetensors.torch import load_file

from cli.composing import default_config
from cli.paper.small.experiments import read_study
from cli.paper.small.federation import federate
from cli.paper.small.starts import start_weights
from client import speaker_processes
from recipes import RunConfig, seed_model
from server.storage.run_folder import RunFolder
from speech.model.checkpoint import load_model
from tests.corpora import make_corpus


@pytest.fixture(autouse=True)
def _no_process_stays():
    yield
    speaker_processes.forget()


def test_one_node_two_and_three_on_two_hosts_give_the_same_model(tmp_path):
    """With noise that a seed repeats and all speakers in the cohort, nothing else is random."""
    corpus = make_corpus(tmp_path / "speech", {"train": 3, "test": 1}, utterances=1)
    settings = {
        "corpus.kind": "manifest",
        "corpus.path": str(corpus),
        "corpus.feature-cache": False,
        "training.rounds": 1,
        "training.cohort": 3.0,
        "privacy.noise-source": "seeded-not-private",
        "privacy.population-name": "toy",
        "run.sentences-shown": 0,
    }
    models = []
    for nodes, hosted in ((1, 0), (2, 0), (2, 3)):
        place = {"run.folder": str(tmp_path / f"runs-{nodes}-{hosted}"), "training.hosted-nodes": hosted}
        folder = federate(RunConfig.from_flat({**default_config(), **settings, **place}), nodes)
        models.append((RunFolder(folder).model, RunFolder(folder).seed))
    (one, seed), *others = models
    one, seed = load_file(one), load_file(seed)
    for other in (load_file(model) for model, _ in others):
        assert all(one[name].equal(other[name]) for name in one)
    assert any(not one[name].equal(seed[name]) for name in one)


def test_a_grown_model_computes_what_the_seed_does_and_can_learn_in_all_blocks(tmp_path):
    cell = read_study(full=True).cells["depth/tiny-6/global"]
    model = load_model(start_weights(cell, 1, tmp_path)).model
    seed = load_model(seed_model("embedded")).model
    features, lengths = torch.randn(1, 80, 40), torch.tensor([80])
    with torch.no_grad():
        assert torch.equal(model(features, lengths)[0], seed(features, lengths)[0])
    assert sum(value.numel() for value in model.parameters()) == 705_150
    assert all(
        value.any() for name, value in model.named_parameters() if name.endswith(("wqkv.weight", "w1.weight"))
    )
