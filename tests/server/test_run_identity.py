"""A run is known by its id, never by its folder's name; what was trained by unknown spending is refused."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import save_file
from typer.testing import CliRunner

from cli.composing import config_of_run
from cli.main import app
from privacy import LedgerCorrupt, PrivacyPlan, SpendingUnknown, epsilon_text, read_ledger
from recipes import runs_folder
from server.errors import ResumeRefused
from server.federated_run import FederatedRun
from server.report.model_card import model_card
from server.report.model_facts import ModelFacts
from server.storage.ancestry import lineage_of_model
from server.storage.checkpoints import load_checkpoint
from server.storage.run_folder import RunFolder
from speech.model.checkpoint import load_model, read_metadata
from speech.model.ctc_transformer import build_model
from tests.corpora import make_corpus
from tests.server.in_process import federate, recipe, run_of_folder
from tests.server.older import as_before_ids

OLD = Path(__file__).parent / "before_identities"
PLAN = PrivacyPlan(population=5, cohort=2.0, rounds=4, noise_multiplier=1.0, delta=1e-6)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"), {"train": 5, "test": 1}, utterances=1)


def card_of(folder):
    return model_card(RunFolder(folder), config_of_run(folder))


def crash_after(corpus, rounds, **changes):
    """A run that dies as soon as `rounds` rounds are filed; returns its folder."""
    real = FederatedRun._after_round

    def crash(self, number, grid):
        real(self, number, grid)
        if number == rounds:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(FederatedRun, "_after_round", crash)
        federate(recipe(corpus, **changes))
    return (runs_folder() / "latest").resolve()


def test_everything_that_a_run_leaves_has_its_id(corpus):
    folder = federate(recipe(corpus))
    run = run_of_folder(folder)
    assert len(run) == 32 and run != folder.name
    assert {entry.run for entry in read_ledger(folder / "ledger.jsonl")} == {run}
    for name in ("model", "seed"):
        assert read_metadata(folder / f"{name}.safetensors")["run"] == run
    assert f"# run: {run}" in (folder / "config.toml").read_text()
    assert json.loads((folder / "evaluation.json").read_text())["run"] == run
    assert f"run {run[:8]}" in (folder / "card.md").read_text()
    assert run_of_folder(federate(recipe(corpus), run_id="2")) != run


def test_a_renamed_folder_has_the_same_card_and_is_resumed_as_the_same_run(corpus):
    folder = crash_after(corpus, 2)
    run, renamed = run_of_folder(folder), folder.with_name("my-best-model")
    federate(recipe(corpus, **{"run.resume": str(folder), "run.checkpoint-every": 1}))
    card = card_of(folder)
    folder.rename(renamed)
    assert card_of(renamed) == card and f"**{epsilon_text(PLAN.epsilon().value)}**" in card
    assert run_of_folder(renamed) == run
    federate(recipe(corpus, **{"run.resume": str(renamed)}))
    assert {entry.run for entry in read_ledger(renamed / "ledger.jsonl")} == {run}


def test_a_run_that_was_renamed_before_it_went_on_counts_all_its_releases(corpus):
    folder = crash_after(corpus, 2)
    renamed = folder.rename(folder.with_name("renamed"))
    federate(recipe(corpus, **{"run.resume": str(renamed)}))
    assert "| releases in the ledger | 4 |" in card_of(renamed)
    assert "other runs" not in (renamed / "summary.txt").read_text()


def test_a_trained_model_without_its_releases_is_refused_everywhere(corpus):
    folder = federate(recipe(corpus))
    ledger = (folder / "ledger.jsonl").resolve()
    ledger.write_bytes(b"")
    ledger.with_suffix(".head").unlink()
    for words in (
        ["card", "--run", folder],
        ["export", "--run", folder, folder / "m.pt"],
        ["evaluate", "--run", folder],
    ):
        done = CliRunner().invoke(app, list(map(str, words)))
        assert (done.exit_code, done.stdout) == (2, ""), words
        said = " ".join(done.stderr.split())
        assert "has made 4 rounds, so 4 releases" in said and "has 0 such releases" in said
        assert "murmur ledger restore" in said


def test_a_ledger_with_fewer_releases_than_rounds_is_refused(corpus):
    folder = federate(recipe(corpus))
    ledger = (folder / "ledger.jsonl").resolve()
    ledger.write_bytes(b"".join(ledger.read_bytes().splitlines(keepends=True)[:3]))
    with pytest.raises(SpendingUnknown, match=r"4 releases, .* has 3 such releases"):
        card_of(folder)


def test_what_was_released_after_the_last_checkpoint_is_missed_too(corpus):
    """A ledger that is cut to what the newest checkpoint saw lacks what was shown since."""
    rarely = {"run.checkpoint-every": 2}
    folder = crash_after(corpus, 3, **rarely)
    ledger = (folder / "ledger.jsonl").resolve()
    whole = ledger.read_bytes()
    for left in (whole[: whole.rindex(b"\n", 0, -1) + 1], b""):
        ledger.write_bytes(left)
        with pytest.raises((LedgerCorrupt, ResumeRefused, SpendingUnknown)):
            federate(recipe(corpus, **rarely, **{"run.resume": str(folder)}))
        with pytest.raises(LedgerCorrupt, match=r"lacks entries that ward.head"):
            federate(recipe(corpus))
        shown = CliRunner().invoke(app, ["ledger", "show", str(ledger)]).stdout
        assert "WARNING: every epsilon here is too small" in shown and "ward.head" in shown
        assert CliRunner().invoke(app, ["ledger", "verify", str(folder)]).exit_code == 1
    for file in ledger.parent.glob("ward.[!j]*"):  # neither its notes nor what it saw last
        file.unlink()
    ledger.write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 1])
    with pytest.raises(SpendingUnknown, match="has made 3 rounds, so 3 releases"):
        federate(recipe(corpus, **rarely, **{"run.resume": str(folder)}))


def test_a_run_that_was_killed_before_its_first_checkpoint_takes_its_releases_along(corpus, tmp_path):
    """Its folder alone, in another runs folder, has a checkpoint that saw an empty ledger."""
    rarely = {"run.checkpoint-every": 4}
    folder, alone = crash_after(corpus, 3, **rarely), tmp_path / "alone" / "run"
    shutil.copytree(folder, alone, symlinks=True)
    with pytest.raises(SpendingUnknown, match="has made 3 rounds, so 3 releases"):
        federate(recipe(corpus, **rarely, **{"run.resume": str(alone)}))
    federate(recipe(corpus, **rarely, **{"run.resume": str(folder)}))
    assert len(read_ledger(folder / "ledger.jsonl")) == 3 + 4


def test_the_model_of_another_run_beside_a_checkpoint_is_refused(corpus):
    one, other = federate(recipe(corpus)), federate(recipe(corpus), run_id="2")
    shutil.copy(one / "model.safetensors", other / "model.safetensors")
    with pytest.raises(SpendingUnknown, match=f"is a model of run {run_of_folder(one)}"):
        card_of(other)


def test_files_of_before_ids_are_read_as_they_were_written():
    """Written by the release before, not by this one."""
    checkpoint = load_checkpoint(OLD / "round-000004.safetensors", tensors=False)
    assert (checkpoint.round_number, checkpoint.run, checkpoint.lineage) == (4, "", None)
    assert checkpoint.plan.noise_multiplier == 1.0 and checkpoint.population_name == "ab" * 32
    entries = read_ledger(OLD / "ledger.jsonl")
    assert [entry.round for entry in entries] == [1, 2, 3, 4]
    assert {entry.run for entry in entries} == {"20261128-022810-1"}


def test_a_folder_of_before_ids_has_its_card_goes_on_and_gets_its_name_for_an_id(corpus):
    folder = crash_after(corpus, 2)
    as_before_ids(folder)
    federate(recipe(corpus, **{"run.resume": str(folder)}))
    assert {entry.run for entry in read_ledger(folder / "ledger.jsonl")} == {folder.name}
    card = card_of(folder)
    assert f"run {folder.name}" in card and "| releases in the ledger | 4 |" in card
    assert card_of(folder.rename(folder.with_name("renamed"))) == card  # from now on it has an id
    assert run_of_folder(folder.with_name("renamed")) == folder.name


@pytest.mark.parametrize("checkpoints", [1, 9])
def test_a_renamed_folder_of_before_ids_is_refused_with_the_names_that_the_ledger_has(corpus, checkpoints):
    """With a checkpoint after its releases, and with one from before them."""
    folder = crash_after(corpus, 2, **{"run.checkpoint-every": checkpoints})
    as_before_ids(folder)
    renamed = folder.rename(folder.with_name("renamed"))
    with pytest.raises(SpendingUnknown, match=f"runs in that ledger: {folder.name}"):
        federate(recipe(corpus, **{"run.resume": str(renamed), "run.checkpoint-every": checkpoints}))
    assert len(read_ledger(renamed / "ledger.jsonl")) == 2
    if checkpoints == 1:
        with pytest.raises(SpendingUnknown, match="give it the name that is in the ledger"):
            ModelFacts.of(RunFolder(renamed), config_of_run(renamed))
    federate(recipe(corpus, **{"run.resume": str(renamed.rename(folder))}))


def test_a_model_of_before_ids_is_read_and_its_spending_is_asked_of_its_folder(tmp_path):
    """With the metadata that the release before wrote."""
    model = build_model("tiny", seed=0)
    written = json.loads((OLD / "model-metadata.json").read_text())
    save_file(dict(model.state_dict()), tmp_path / "model.safetensors", written)
    assert load_model(tmp_path / "model.safetensors").metadata["privacy"] == "see ledger.jsonl"
    with pytest.raises(SpendingUnknown, match="do not contain what was spent"):
        lineage_of_model(tmp_path / "model.safetensors")
