"""A run that goes on from an earlier run's model: THE epsilon covers all that was released on the way."""

import itertools
import json
import shutil

import pytest
import yaml
from typer.testing import CliRunner

from cli.composing import config_of_run
from cli.main import app
from privacy import PrivacyPlan, Release, SpendingUnknown, epsilon, epsilon_text, read_ledger
from privacy.accounting.filters import least_budget
from privacy.accounting.profile import PrivacyProfile
from recipes import runs_folder
from server.federated_run import FederatedRun
from server.report.model_card import model_card
from server.report.model_facts import ModelFacts
from server.storage.ancestry import lineage_of_model, promise_of
from server.storage.run_folder import RunFolder
from speech.model.checkpoint import read_metadata
from tests.cli.test_export import metadata
from tests.corpora import make_corpus
from tests.server.in_process import federate, recipe, run_of_folder
from tests.server.older import as_before_ids

ROUNDS = 2
RUNS = itertools.count()
RELEASE = Release(sampling_rate=0.4, noise_multiplier=1.0)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"), {"train": 5, "test": 1}, utterances=1)


def run(corpus, name, seed=None, dataset=None, **changes):
    """A run of two rounds on the population `name`, whose corpus has that digest too; returns its folder."""
    settings = {"training.rounds": ROUNDS, "privacy.population-name": name, **changes}
    if seed is not None:
        settings["model.seed"] = str(seed / "model.safetensors")
    return federate(recipe(corpus, **settings), dataset=dataset or name, run_id=f"{next(RUNS)}")


def facts_of(folder):
    return ModelFacts.of(RunFolder(folder), config_of_run(folder))


def rounded(count, noise=1.0):
    """Epsilon of so many rounds, as it is shown, without PLD's part."""
    release = Release(sampling_rate=0.4, noise_multiplier=noise, count=count)
    return epsilon_text(epsilon([release], 1e-6).value)


def test_the_headline_covers_the_whole_lineage_on_every_page(corpus, tmp_path):
    first = run(corpus, "one")
    second = run(corpus, "two", first)
    third = run(corpus, "three", second)
    facts = facts_of(third)
    assert [one.run for one in facts.lineage] == [run_of_folder(first), run_of_folder(second)]
    assert facts.headline == epsilon([RELEASE] * 6, 1e-6) and facts.spent == epsilon([RELEASE] * 2, 1e-6)
    card, summary = (third / "card.md").read_text(), (third / "summary.txt").read_text()
    assert f"| epsilon | **{rounded(6)}**" in card and f"| this run alone | {rounded(2)} (" in card
    assert f"{run_of_folder(first)[:8]}, {run_of_folder(second)[:8]}" in card
    assert "privacy of the model, with 4 releases of the runs that made its seed model" in summary
    assert f"epsilon {rounded(6)} (by " in summary
    assert summary.index(f"epsilon {rounded(6)}") < summary.index(f"epsilon {rounded(2)}")
    for given in (["--run", third], ["--model", third / "model.safetensors"]):
        out = tmp_path / f"{given[0][2:]}.pt"
        assert CliRunner().invoke(app, ["export", *map(str, given), str(out)]).exit_code == 0
        assert metadata(out)["privacy"].startswith(f"epsilon {rounded(6)} ")
    line = (third / "metrics.jsonl").read_text().splitlines()[-1]
    assert '"epsilon_rdp_model"' in line


def test_the_table_shows_both(corpus, capsys):
    first = run(corpus, "one")
    capsys.readouterr()
    run(corpus, "two", first)
    shown = capsys.readouterr().out
    assert "eps (model): THE epsilon of the model: this run and 2 releases of the runs that made" in shown
    row = next(line for line in shown.splitlines() if line.split()[:1] == ["2"]).split()
    whole, own = (epsilon([RELEASE] * n, 1e-6, pld=False).rdp for n in (4, 2))
    assert (row[7], row[9]) == (epsilon_text(own), epsilon_text(whole))


def test_a_run_from_another_seed_shows_one_epsilon_only(corpus, capsys):
    folder = run(corpus, "one")
    assert "eps (model)" not in capsys.readouterr().out
    assert "this run alone" not in (folder / "card.md").read_text()
    assert lineage_of_model(folder / "seed.safetensors") == ()


def test_nothing_is_counted_twice_where_the_same_population_goes_on(corpus):
    first = run(corpus, "one")
    second = run(corpus, "one", first)
    facts = facts_of(second)
    assert facts.headline == epsilon([RELEASE] * 4, 1e-6)
    assert facts.other_releases == 2
    assert "with 2 releases of other runs" in (second / "summary.txt").read_text()


def test_a_budget_counts_what_the_seeds_runs_spent_elsewhere(corpus):
    """Beside others' releases the budget is a filter."""
    budget = (least_budget([RELEASE] * 3, 1e-6) + least_budget([RELEASE] * 4, 1e-6)) / 2
    first = run(corpus, "one")
    elsewhere = run(corpus, "two", first, **{"privacy.epsilon-budget": budget})
    assert len(read_ledger(elsewhere / "ledger.jsonl")) == 1  # two are spent in the other ledger
    assert "stopped before the last round: The budget is" in (elsewhere / "summary.txt").read_text()
    alone = run(corpus, "three", **{"privacy.epsilon-budget": budget})
    assert len(read_ledger(alone / "ledger.jsonl")) == 2


def test_a_resumed_run_keeps_its_lineage(corpus):
    first = run(corpus, "one")
    real = FederatedRun._after_round

    def crash(self, number, grid):
        real(self, number, grid)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(FederatedRun, "_after_round", crash)
        run(corpus, "two", first)
    folder = RunFolder(first.parent / "latest").path.resolve()
    shutil.rmtree(first)  # the seed's file is gone
    run(corpus, "two", **{"run.resume": str(folder)})
    assert facts_of(folder).headline == epsilon([RELEASE] * 4, 1e-6)
    assert [len(one.releases) for one in lineage_of_model(folder / "model.safetensors")] == [1, 1]
    assert lineage_of_model(folder / "seed.safetensors") == facts_of(folder).lineage


def test_a_tag_is_for_the_whole_lineage(corpus):
    weak, strong = {"privacy.noise-multiplier": 0.5}, {"privacy.noise-multiplier": 20.0}
    first = run(corpus, "one", **weak)
    alone, chained = run(corpus, "two", **strong), run(corpus, "three", first, **strong)
    tags = [yaml.safe_load((f / "card.md").read_text().split("---\n")[1])["tags"] for f in (alone, chained)]
    assert ["differential-privacy" in one for one in tags] == [True, False]


def test_a_seed_that_protected_nobody_is_said_on_every_page(corpus):
    first = run(corpus, "one", **{"privacy.noise-multiplier": 0.0})
    second = run(corpus, "two", first, **{"privacy.noise-multiplier": 20.0})
    said = f"he seed model came from a federated run without privacy ({run_of_folder(first)[:8]})"
    for page in ("card.md", "summary.txt"):
        assert said in (second / page).read_text()
    assert "differential-privacy" not in (second / "card.md").read_text().split("---\n")[1]
    assert said in facts_of(second).privacy
    assert said in (run(corpus, "three", second) / "card.md").read_text()


def test_a_seed_that_learnt_from_synthetic_speakers_needs_no_remark(corpus):
    settings = {"training.rounds": 1, "privacy.noise-multiplier": 0.0, "privacy.population-name": ""}
    first = federate(recipe(corpus, **settings), synthetic=True, dataset="voices", run_id="a")
    assert "without privacy" not in (run(corpus, "two", first) / "card.md").read_text()


def test_a_model_of_before_lineages_is_a_seed_where_its_run_folder_tells_what_it_spent(corpus, tmp_path):
    first = run(corpus, "one")
    as_before_ids(first)
    second = run(corpus, "two", first)
    assert facts_of(second).headline == epsilon([RELEASE] * 4, 1e-6)
    assert [one.run for one in facts_of(second).lineage] == [first.name]
    as_before_ids(second)  # an old run that went on from an old run
    assert facts_of(second).headline == epsilon([RELEASE] * 4, 1e-6)
    assert f"| this run alone | {rounded(2)}" in model_card(RunFolder(second), config_of_run(second))
    (tmp_path / "alone").mkdir()
    shutil.copy(first / "model.safetensors", tmp_path / "alone")
    with pytest.raises(SpendingUnknown, match="give its path in its run folder"):
        run(corpus, "three", tmp_path / "alone")


def test_a_model_of_before_lineages_without_privacy_is_known_by_its_stamp(corpus, tmp_path):
    first = run(corpus, "one", **{"privacy.noise-multiplier": 0.0})
    as_before_ids(first)
    shutil.copy(first / "model.safetensors", tmp_path)
    assert "privacy" in read_metadata(tmp_path / "model.safetensors")
    assert "without privacy (unknown)" in (run(corpus, "two", tmp_path) / "card.md").read_text()


def test_a_renamed_folder_of_before_ids_is_no_seed(corpus):
    first = run(corpus, "one")
    as_before_ids(first)
    with pytest.raises(SpendingUnknown, match=f"runs in that ledger: {first.name}"):
        run(corpus, "two", first.rename(first.with_name("renamed")))


def test_a_plan_alone_would_have_said_less(corpus):
    """What was shown before: the last link."""
    first = run(corpus, "one")
    second = run(corpus, "two", first)
    plan = PrivacyPlan(population=5, cohort=2.0, rounds=ROUNDS, noise_multiplier=1.0, delta=1e-6)
    assert facts_of(second).headline.value > 1.3 * plan.epsilon().value


def test_the_profile_on_the_card_covers_the_lineage_too(corpus):
    """Epsilon for two devices, of this run alone, could be smaller than that for one of the whole."""
    first = run(corpus, "one")
    second = run(corpus, "two", first)
    whole = PrivacyProfile.of([RELEASE] * 4, 1e-6, independent=True, devices=(2,))
    card = (second / "card.md").read_text()
    assert all(f"| {name} | {value} |" in card for name, value in whole.rows())
    banded = run(corpus, "three", second, **{"privacy.bands": 2, "training.cohort": 1.0})
    last = facts_of(run(corpus, "four", banded))
    assert facts_of(second).independent and last.plan.bands == 1 and not last.independent


def test_a_link_to_an_older_runs_model_is_that_model_whatever_its_name(corpus, tmp_path):
    folder = run(corpus, "one")
    as_before_ids(folder)
    link = tmp_path / "seed.safetensors"
    link.symlink_to(folder / "model.safetensors")
    assert lineage_of_model(link) == lineage_of_model(folder / "model.safetensors") != ()


def test_an_older_run_whose_seed_has_another_name_now_says_that_it_is_not_known(corpus):
    """`latest` was another run when this one began; now it is this one."""
    latest = {"model.seed": str(runs_folder() / "latest" / "model.safetensors")}
    first = run(corpus, "one")
    second = run(corpus, "two", **latest)
    third = run(corpus, "three", **latest)
    for folder in (first, second, third):
        as_before_ids(folder)
    assert [one.run for one in facts_of(third).lineage] == ["unknown"]
    assert [one.run for one in facts_of(second).lineage] == ["unknown", "unknown", third.name]


@pytest.mark.parametrize("change", [{"private": "no"}, {"delta": 0.0}, {"delta": 1.0}, {"synthetic": None}])
def test_a_lineage_that_promises_nothing_that_can_be_told_is_refused(change):
    ancestor = {"run": "a", "people": "p", "private": True, "delta": 1e-6, "releases": []}
    with pytest.raises(SpendingUnknown, match="has Expected"):
        promise_of(json.dumps([{**ancestor, **change}]))
