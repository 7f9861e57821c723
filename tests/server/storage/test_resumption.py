"""Interrupting real federations (in one process, nodes that answer at once) and going on with them."""

import json
import re
from dataclasses import replace

import pytest
import torch

from base.clip_groups import ClipGroups
from base.registries import MODEL_PRESETS
from optim.flat_model import bind
from privacy import (
    BudgetExhausted,
    LedgerCorrupt,
    LedgerInUse,
    PrivacyPlan,
    epsilon,
    epsilon_text,
    ledger_releases,
    read_ledger,
)
from privacy.accounting.filters import least_budget
from recipes import ConfigError, seed_model
from server.errors import ResumeRefused
from server.evaluation import HeldOut
from server.federated_run import FederatedRun
from server.storage.checkpoints import load_checkpoint
from speech.model.checkpoint import load_model, save_model
from speech.model.ctc_transformer import build_model
from strategies.state import state_of
from tests.corpora import make_corpus
from tests.paper_models import date_back, small_paper
from tests.server.in_process import SPEAKERS, federate, recipe, run_of_folder


class Crash(Exception):
    """The power fails."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"), {"train": 5, "test": 1}, utterances=1)


def crash_in_round(corpus, number, home, **changes):
    """Start a run that ends when the nodes are asked for round `number`; returns its folder."""

    def saw(round_number, vector):
        if round_number == number:
            raise Crash

    # A cohort of everyone: with fewer, a round may ask nobody.
    with pytest.raises(Crash):
        federate(recipe(corpus, **{"training.cohort": 5.0, **changes}), saw=saw)
    return (home / "runs" / "latest").resolve()


def resume(corpus, saw=None, dataset="speech", speakers=SPEAKERS, **changes):
    settings = {"training.cohort": 5.0, "run.resume": "latest", **changes}
    return federate(recipe(corpus, **settings), saw=saw, dataset=dataset, speakers=speakers, run_id="2")


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"  # as tests/conftest.py sets it


def test_a_run_goes_on_in_its_folder_after_its_newest_checkpoint(corpus, home):
    folder = crash_in_round(corpus, 3, home)
    seen = []
    assert resume(corpus, saw=lambda number, vector: seen.append(number)) == folder
    assert sorted(set(seen)) == [3, 4]
    entries = read_ledger(folder / "ledger.jsonl")
    assert [(entry.run, entry.round) for entry in entries] == [
        (run_of_folder(folder), n) for n in (1, 2, 3, 4)
    ]
    assert load_checkpoint(folder / "checkpoints" / "round-000004.safetensors").round_number == 4
    assert "resumed after round 2" in (folder / "summary.txt").read_text()


def test_the_resumed_model_is_the_one_that_was_released(corpus, home):
    """The optimiser goes on too: Adam's moments and steps come back bit for bit."""
    folder = crash_in_round(corpus, 3, home)
    kept = load_checkpoint(folder / "checkpoints" / "round-000002.safetensors").tensors
    first = {}
    real = FederatedRun._print_row

    def spy(self, evaluation):
        first.setdefault("state", {k: v.clone() for k, v in state_of(self.strategy).items()})
        real(self, evaluation)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FederatedRun, "_print_row", spy)
        resume(corpus)
    assert set(first["state"]) == set(kept) >= {"vector", "optimiser.steps"}
    assert all(torch.equal(first["state"][name], kept[name]) for name in kept)
    assert int(kept["optimiser.steps"]) == 2


def test_a_round_released_after_the_checkpoint_stays_spent_and_is_made_anew(corpus, home):
    folder = crash_in_round(corpus, 4, home, **{"run.checkpoint-every": 2})
    resume(corpus, **{"run.checkpoint-every": 2})
    entries = read_ledger(folder / "ledger.jsonl")
    assert [entry.round for entry in entries] == [1, 2, 3, 3, 4]
    spent = epsilon(ledger_releases(entries), 1e-6, pld=False).rdp
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["epsilon_rdp_this_run"] == pytest.approx(spent, rel=1e-12)
    assert [(line["round"], line.get("resumed")) for line in lines] == [
        (0, None), (1, None), (2, None), (3, None), (2, True), (3, None), (4, None),
    ]  # fmt: skip


@pytest.mark.parametrize(("released", "checkpoints", "charged"), [(1, 1, [1, 2, 4]), (3, 2, [1, 3, 3])])
def test_correlated_noise_ends_with_its_process_and_a_resumed_run_pays_for_its_own_cycle(
    corpus, home, released, checkpoints, charged
):
    """A cycle of two rounds is one release. The crash cuts the first short, or the second unfiled."""
    banded = {"training.cohort": 2.0, "privacy.bands": 2, "run.checkpoint-every": checkpoints}
    real = FederatedRun._after_round

    def crash(self, number, grid):
        if number < released or checkpoints == 1:
            real(self, number, grid)
        if number == released:
            raise Crash

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Crash):
        patch.setattr(FederatedRun, "_after_round", crash)
        federate(recipe(corpus, **banded))
    folder = resume(corpus, **banded)
    entries = read_ledger(folder / "ledger.jsonl")
    assert [entry.round for entry in entries] == charged
    assert {entry.release.sampling_rate for entry in entries} == {0.8}  # of a group, twice that of everyone
    spent = epsilon(ledger_releases(entries), 1e-6, pld=False).rdp
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert (last["round"], last["epsilon_rdp_this_run"]) == (4, pytest.approx(spent, rel=1e-12))
    plan = PrivacyPlan(population=5, cohort=2.0, rounds=4, noise_multiplier=1.0, delta=1e-6, bands=2)
    section = recipe(corpus).privacy
    larger = plan.extrapolate(section.extrapolate_population, section.extrapolate_cohort)
    imagined = epsilon([larger.release] * len(charged), 1e-6)
    assert last["epsilon_rdp_extrapolated"] == pytest.approx(imagined.rdp, rel=1e-12)
    for told in ("summary.txt", "card.md"):
        assert (
            f"RDP {epsilon_text(imagined.rdp)}, PLD {epsilon_text(imagined.pld)}"
            in (folder / told).read_text()
        )
    kept = load_checkpoint(folder / "checkpoints" / "round-000004.safetensors").tensors
    assert not any("noise" in name or "past" in name for name in kept)


def test_a_torn_line_of_metrics_is_cut_off(corpus, home):
    folder = crash_in_round(corpus, 3, home)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"round": 3, "lo')
    resume(corpus)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["round"] for line in lines] == [0, 1, 2, 2, 3, 4]


CHANGED = {
    "plan": ({"privacy.noise-multiplier": 0.9}, {}, "privacy.noise-multiplier was 1.0 and is now 0.9"),
    "cohort": ({"training.cohort": 4.0}, {}, "training.cohort was 5.0 and is now 4.0"),
    "rounds": ({"training.rounds": 9}, {}, "training.rounds was 4 and is now 9"),
    "part": (
        {"model.trainable": "norm.*", "model.seed": "embedded"},
        {},
        "model.trainable was 'all' and is now 'norm.*'",
    ),
    "model": ({"model.name": "small"}, {}, "model.name was 'tiny' and is now 'small'"),
    "growth": ({}, {"speakers": (4, 2)}, "plan: population was 5 and is now 6"),
    "data": ({}, {"dataset": "others"}, "data set was 'speech' and is now 'others'"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_another_run_is_refused_by_naming_the_difference_and_spends_nothing(corpus, home, name):
    changes, call, words = CHANGED[name]
    folder = crash_in_round(corpus, 2, home)
    before = (folder / "ledger.jsonl").read_bytes()
    with pytest.raises(ResumeRefused, match=re.escape(words)):
        resume(corpus, **call, **changes)
    assert (folder / "ledger.jsonl").read_bytes() == before


def test_a_run_that_trains_a_part_goes_on_with_that_part_and_saves_the_whole_model(corpus, home):
    part = {"model.trainable": "output.*", "model.seed": "embedded"}
    folder = crash_in_round(corpus, 3, home, **part)
    assert load_checkpoint(folder / "checkpoints" / "round-000002.safetensors").tensors["vector"].shape == (
        30 * 97,
    )
    resume(corpus, **part)
    seed = load_model(seed_model("embedded")).model.state_dict()
    saved = load_model(folder / "model.safetensors").model.state_dict()
    changed = [name for name in seed if not torch.equal(seed[name], saved[name])]
    assert changed == ["output.weight", "output.bias"]
    for told in ("summary.txt", "card.md"):
        assert "2,910 trained of 372,222 parameters" in (folder / told).read_text()


def test_a_run_with_clip_groups_goes_on_in_their_order_and_only_with_them(corpus, home, capsys):
    text = "*norm*=0.2,*=0.8"
    groups = {"privacy.clip-groups": text, "model.seed": "embedded"}
    folder = crash_in_round(corpus, 3, home, **groups)
    assert "'dim' clip bounds in 2 clip groups" in capsys.readouterr().out
    with pytest.raises(ResumeRefused, match=re.escape(f"privacy.clip-groups was {text!r} and is now ''")):
        resume(corpus, **{**groups, "privacy.clip-groups": ""})
    resume(corpus, **groups)
    layout, vector = bind(load_model(folder / "model.safetensors").model, ClipGroups.read(text))
    assert "norm" in layout.names[0] and "norm" not in layout.names[-1]
    kept = load_checkpoint(folder / "checkpoints" / "round-000004.safetensors").tensors["vector"]
    assert torch.equal(kept, vector)


def test_clip_groups_that_do_not_fit_end_a_run_before_it_begins(corpus, home):
    asked = []
    config = recipe(corpus, **{"privacy.clip-groups": "encoder.*=0.05,*=0.95"})
    with pytest.raises(ConfigError, match=r"the pattern 'encoder\.\*' matches no trained tensor"):
        federate(config, saw=lambda number, vector: asked.append(number))
    assert not asked and not list(home.glob("**/ledger.jsonl"))


def test_a_seed_that_was_exchanged_under_a_run_is_named(corpus, home):
    part = {"model.trainable": "output.*", "model.seed": "embedded"}
    folder = crash_in_round(corpus, 2, home, **part)
    save_model(folder / "seed.safetensors", build_model("tiny", seed=1), "tiny")
    with pytest.raises(ResumeRefused, match="frozen parameters was"):
        resume(corpus, **part)


def test_a_run_of_earlier_features_goes_on_with_those_of_now_as_on_every_node(corpus, home):
    evaluated = []
    real = HeldOut.of

    def spy(section, model, *rest):
        evaluated.append(model.front_end)
        return real(section, model, *rest)

    with small_paper(), pytest.MonkeyPatch.context() as patch:
        changes = {"model.name": "paper", "model.seed": "random"}
        folder = crash_in_round(corpus, 2, home, **changes)
        date_back(folder / "seed.safetensors")
        patch.setattr(HeldOut, "of", spy)
        resume(corpus, **changes)
        assert evaluated == [MODEL_PRESETS["paper"].features]


def test_a_ledger_that_lost_its_end_is_refused(corpus, home):
    folder = crash_in_round(corpus, 4, home)
    ledger = (folder / "ledger.jsonl").resolve()
    ledger.write_bytes(b"".join(ledger.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(
        ResumeRefused, match=r"of round 3 the ledger ended .* \(2 entries\) does not contain it"
    ):
        resume(corpus)


def test_a_ledger_that_was_changed_is_refused_with_its_line(corpus, home):
    folder = crash_in_round(corpus, 4, home)
    ledger = (folder / "ledger.jsonl").resolve()
    ledger.write_text(ledger.read_text().replace('"round": 2', '"round": 7'))
    with pytest.raises(LedgerCorrupt, match="line 2"):
        resume(corpus)


def test_a_run_that_has_the_ledger_open_keeps_others_out(corpus, home):
    def saw(round_number, vector):
        with pytest.raises(LedgerInUse, match="Another run is writing"):
            federate(recipe(corpus), run_id="3")

    folder = federate(recipe(corpus, **{"training.rounds": 1, "training.cohort": 5.0}), saw=saw)
    assert (home / "runs" / "latest").resolve() == folder
    assert [path.name for path in (home / "runs").iterdir() if path.name[0] == "2"] == [folder.name]


def test_nothing_to_resume_is_said(corpus, home):
    with pytest.raises(ResumeRefused, match=r"run.resume = 'none': there is no run folder"):
        resume(corpus, **{"run.resume": "none"})
    (home / "runs" / "empty").mkdir(parents=True)
    with pytest.raises(ResumeRefused, match=r"contains no checkpoint"):
        resume(corpus, **{"run.resume": "empty"})


def test_a_run_that_ended_can_be_resumed_without_spending_more(corpus, home):
    folder = federate(recipe(corpus, **{"training.cohort": 5.0}))
    before = (folder / "ledger.jsonl").read_bytes()
    assert resume(corpus) == folder
    assert (folder / "ledger.jsonl").read_bytes() == before


def test_runs_on_the_same_population_add_up_and_the_budget_counts_them_all(corpus, home):
    plan = PrivacyPlan(population=5, cohort=2.0, rounds=4, noise_multiplier=1.0, delta=1e-6)
    six, seven = (least_budget([replace(plan.release, count=count)], plan.delta) for count in (6, 7))
    # The second run was planned with the first one's results known: a filter counts.
    budget = (six + seven) / 2
    first = federate(recipe(corpus))
    second = federate(recipe(corpus, **{"privacy.epsilon-budget": budget}), run_id="22")
    folders = sorted(first.parent.iterdir())
    with pytest.raises(BudgetExhausted, match=r"no room for a single round.*one more round would make it"):
        federate(recipe(corpus, **{"privacy.epsilon-budget": budget}), run_id="33")
    assert sorted(first.parent.iterdir()) == folders, "a run without a single round leaves nothing"
    runs = [entry.run for entry in read_ledger(first / "ledger.jsonl")]
    assert runs == [run_of_folder(first)] * 4 + [run_of_folder(second)] * 2
    assert "other runs" not in (first / "summary.txt").read_text()
    text = (second / "summary.txt").read_text()
    assert "stopped before the last round: The budget is" in text
    assert "with 4 releases of other runs on them: epsilon" in text
    assert (second / "model.safetensors").is_file()
    again = {"run.resume": str(second), "privacy.epsilon-budget": budget}
    assert federate(recipe(corpus, **again), run_id="44") == second
    assert [entry.run for entry in read_ledger(first / "ledger.jsonl")] == runs


def test_another_population_has_its_own_ledger_and_a_name_joins_corpora(corpus, home):
    one = federate(recipe(corpus, **{"privacy.population-name": "one"}), dataset="ab" * 32)
    two = federate(recipe(corpus, **{"privacy.population-name": "two"}), dataset="cd" * 32, run_id="22")
    assert len(read_ledger(one / "ledger.jsonl")) == len(read_ledger(two / "ledger.jsonl")) == 4
    named = {"privacy.population-name": "hospital"}
    federate(recipe(corpus, **named), dataset="ef" * 32, run_id="33")
    last = federate(recipe(corpus, **named), dataset="01" * 32, run_id="44")
    assert len(read_ledger(last / "ledger.jsonl")) == 8


def test_a_data_set_that_is_no_file_name_stays_within_the_ledgers(corpus, home):
    settings = {"privacy.population-name": "", "privacy.noise-multiplier": 0.0}
    folder = federate(recipe(corpus, **settings), dataset="../../out")
    assert (folder / "ledger.jsonl").resolve().parent == home / "runs" / "ledgers"
