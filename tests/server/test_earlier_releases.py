"""Run folders of earlier releases, whose recipe keys had other names, are read and their runs go on."""

from pathlib import Path

import pytest
from safetensors import safe_open

from cli.composing import config_of_run
from cli.run.settings import recipe_of_run
from privacy import read_ledger
from recipes import ConfigError, RunConfig
from server.report.model_card import model_card
from server.storage.checkpoints import Identity, load_checkpoint
from server.storage.run_folder import RunFolder
from tests.corpora import make_corpus
from tests.server.in_process import federate, recipe, run_of_folder
from tests.server.older import as_before_renames
from tests.server.test_run_identity import crash_after

OLD = Path(__file__).parent / "before_renames"  # written by the release before the renames, not by this one


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"), {"train": 5, "test": 1}, utterances=1)


def test_a_configuration_of_before_the_renames_has_the_present_keys():
    assert 'people = "ward"' in (OLD / "config.toml").read_text()
    config = config_of_run(OLD)
    assert (config.privacy.population_name, config.privacy.quantisation_bits) == ("ward", 20)


def test_a_checkpoint_of_before_the_renames_belongs_to_the_same_run():
    path = OLD / "round-000002.safetensors"
    with safe_open(path, framework="pt") as file:
        assert all(key in file.metadata()["identity"] for key in ("privacy.people", "privacy.grid-bits"))
    kept = load_checkpoint(path)
    assert (kept.round_number, kept.population_name) == (2, "ward")
    now = Identity.of(config_of_run(OLD), kept.plan, kept.identity.layout, kept.identity.dataset)
    assert [line for line in kept.identity.differences(now) if "privacy." in line] == []


def test_an_evaluation_of_before_the_renames_has_the_present_names():
    assert '"heard_in_training": 0' in (OLD / "evaluation.json").read_text()
    assert RunFolder(OLD).read_evaluation()["speakers_in_training"] == 0


def test_a_run_of_before_the_renames_goes_on_in_its_ledger(corpus):
    folder = crash_after(corpus, 2)
    as_before_renames(folder)
    assert recipe_of_run(str(folder), {})["privacy.population-name"] == "ward"
    federate(recipe(corpus, **{"run.resume": str(folder)}))
    entries = read_ledger(folder / "ledger.jsonl")
    assert [entry.round for entry in entries] == [1, 2, 3, 4]
    assert {entry.run for entry in entries} == {run_of_folder(folder)}
    assert folder.resolve().parent / "ledgers" / "ward.jsonl" == (folder / "ledger.jsonl").resolve()


def test_a_run_of_before_the_renames_has_the_same_card(corpus):
    folder = federate(recipe(corpus, **{"training.rounds": 1}))
    card = (folder / "card.md").read_text()
    as_before_renames(folder)
    assert model_card(RunFolder(folder), config_of_run(folder)) == card


def test_a_recipe_with_an_old_key_is_refused_with_the_present_one(corpus):
    with pytest.raises(ConfigError, match=r"this key is called 'privacy.population-name' now"):
        RunConfig.from_flat({**recipe(corpus).to_flat(), "privacy.people": "ward"})
