"""What a run without privacy leaves behind says so, file by file."""

import pytest
from safetensors import safe_open

from tests.corpora import make_corpus
from tests.server.in_process import federate, recipe

# What says it in its own words: releases without noise, and bytes on the wire.
OTHERS = {"ledger.jsonl": '"noise_multiplier": 0.0', "traffic.jsonl": '"keep_secret"'}


@pytest.mark.parametrize(
    "changes", [{"privacy.noise-source": "seeded-not-private"}, {"privacy.noise-multiplier": 0.0}]
)
def test_every_file_of_a_run_without_privacy_is_stamped(tmp_path, changes):
    corpus = make_corpus(tmp_path / "corpus", {"train": 5, "test": 1}, utterances=1)
    folder = federate(recipe(corpus, **{"training.rounds": 2, **changes}))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert {path.name for path in files} >= {"config.toml", "evaluation.json", "model.safetensors", "card.md"}
    for path in files:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                assert file.metadata()["privacy"] == "none", path
        else:
            text = path.read_text()
            said = OTHERS.get(path.name, "privacy: none")
            assert said in text or '"privacy": "none"' in text, path


def test_a_private_run_refers_to_its_ledger(tmp_path):
    corpus = make_corpus(tmp_path / "corpus", {"train": 5, "test": 1}, utterances=1)
    folder = federate(recipe(corpus, **{"training.rounds": 1}))
    assert (folder / "config.toml").read_text().startswith("# privacy: see ledger.jsonl\n")
    assert '"privacy": "see ledger.jsonl"' in (folder / "evaluation.json").read_text()
