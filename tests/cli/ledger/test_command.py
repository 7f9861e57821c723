import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from cli.main import app
from privacy import Ledger, PrivacyPlan, Release
from privacy.accounting.filters import least_budget
from privacy.display import epsilon_text
from server.storage.lost_entries import note_head, require_all_seen
from tests.corpora import make_corpus
from tests.server.in_process import federate, recipe

DEVICES_BANDS = "epsilon_for_devices_with_bands"
RELEASE = Release(sampling_rate=0.1, noise_multiplier=1.0)


def murmur(*arguments):
    return CliRunner().invoke(app, ["ledger", *map(str, arguments)])


@pytest.fixture
def path(tmp_path):
    with Ledger.open(tmp_path / "people.jsonl") as ledger:
        for run, dataset, number in (("a", "one", 1), ("a", "one", 2), ("b", "one", 1), ("c", "two", 1)):
            ledger.spend(RELEASE, run=run, dataset=dataset, round=number)
    return tmp_path / "people.jsonl"


def test_totals_are_those_of_a_plan_of_as_many_rounds(path):
    answer = json.loads(murmur("show", path, "--delta", 1e-5, "--json").stdout)
    plan = PrivacyPlan(population=10, cohort=1.0, rounds=3, noise_multiplier=1.0, delta=1e-5)
    one, two = answer["datasets"]
    assert (one["dataset"], one["releases"], two["releases"]) == ("one", 3, 1)
    assert one["claim"] == pytest.approx(plan.epsilon().value, rel=1e-12)
    assert one["epsilon"]["rdp"] == pytest.approx(plan.epsilon().rdp, rel=1e-12)
    assert [run["releases"] for run in one["runs"]] == [2, 1]
    assert one["runs"][0]["claim"] == pytest.approx(plan.epsilon(2).value, rel=1e-12)
    assert answer["delta"] == 1e-5
    assert [entry["round"] for entry in answer["entries"]] == [1, 2, 1, 1]


def test_text_shows_entries_both_bounds_and_the_smaller(path):
    text = murmur("show", path, "--delta", 1e-6).stdout
    assert "4 entries, epsilon at delta 1e-06" in text
    assert "data set one: 3 releases, epsilon " in text
    assert "RDP " in text and "PLD " in text
    assert text.count("round 1  count 1, noise_multiplier 1.0, sampling_rate 0.1") == 3


def test_a_total_of_several_runs_says_when_it_is_valid(path):
    said = json.loads(murmur("show", path, "--delta", 1e-5, "--json").stdout)
    one, two = said["datasets"]
    assert one["filter_budget"] == least_budget([replace(RELEASE, count=3)], 1e-5) > one["claim"]
    assert two["filter_budget"] is None  # one run: a fixed plan
    text = murmur("show", path, "--delta", 1e-5).stdout
    assert "fixed before the first result" in text.splitlines()[1]
    assert text.count("valid if all their parameters were fixed in advance") == 1
    assert f"lets them through at a budget of {epsilon_text(one['filter_budget'])}, fixed before" in text


def test_the_whole_profile_is_offered(path):
    arguments = ("show", path, "--delta", 1e-5, "--profile")
    one, _ = json.loads(murmur(*arguments, "--json").stdout)["datasets"]
    assert one["profile"]["zcdp_rho"] == pytest.approx(1.5) and one["profile"]["gdp_mu"] is None
    assert one["profile"]["delta_at_epsilon"]["2"] < one["profile"]["delta_at_epsilon"]["1"]
    for count in ("2", "3"):
        alone, bands = (one["profile"][name][count] for name in ("epsilon_for_devices", DEVICES_BANDS))
        assert one["claim"] < alone < bands
    text = murmur(*arguments).stdout
    assert "delta at other epsilons: " in text and "zCDP rho: 1.5" in text and "GDP mu: none" in text
    assert text.count("epsilon for a person on 2 devices: ") == 2
    assert "zCDP" not in murmur("show", path, "--delta", 1e-5).stdout


def test_no_noise_is_infinite_and_still_json(tmp_path):
    with Ledger.open(tmp_path / "l.jsonl") as ledger:
        ledger.spend(Release(sampling_rate=0.1, noise_multiplier=0), run="r", dataset="d", round=1)
    assert json.loads(murmur("show", tmp_path / "l.jsonl", "--json").stdout)["datasets"][0]["claim"] is None
    assert "epsilon infinite" in murmur("show", tmp_path / "l.jsonl").stdout


def test_a_whole_chain_is_verified_and_a_broken_one_named_with_its_line(path):
    done = murmur("verify", path)
    assert (done.exit_code, "4 entries, the chain is whole" in done.stdout) == (0, True)
    path.write_bytes(path.read_bytes().replace(b'"dataset": "two"', b'"dataset": "one"'))
    done = murmur("verify", path)
    assert done.exit_code == 1
    assert f"{path}, line 4" in done.stderr
    assert murmur("show", path).exit_code == 1


@pytest.mark.parametrize(("content", "entries", "more"), [(None, 3, "bytes"), (bytes(1000), 0, "1000 bytes")])
def test_bytes_that_are_no_entry_are_no_whole_chain(path, content, entries, more):
    path.write_bytes(path.read_bytes()[:-40] if content is None else content)
    done = murmur("verify", path)
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"{path}: {entries} entries, then" in done.stderr and f"{more} that are no entry" in done.stderr
    assert "never acknowledged" in done.stderr and "the next run cuts it off" in done.stderr


def test_a_last_entry_without_its_newline_is_whole(path):
    path.write_bytes(path.read_bytes()[:-1])
    assert "4 entries, the chain is whole" in murmur("verify", path).stdout


def test_a_round_that_ends_between_two_looks_is_no_lost_entry(tmp_path, monkeypatch):
    place = tmp_path / "ledgers" / "people.jsonl"
    spent = []

    def spend_once(runs, path, entries):
        if not spent:
            with Ledger.open(path) as ledger:
                spent.append(ledger.spend(RELEASE, run="a", dataset="one", round=1))
                note_head(ledger)
        return require_all_seen(runs, path, entries)

    with Ledger.open(place) as ledger:
        note_head(ledger)
    monkeypatch.setattr("cli.ledger.command.require_all_seen", spend_once)
    done = murmur("verify", place)
    assert done.exit_code == 0, done.output
    assert "1 entries, the chain is whole and holds all" in done.stdout
    place.with_suffix(".head").write_text("f" * 64 + "\n")
    assert murmur("verify", place).exit_code == 1


def test_a_run_folder_without_a_checkpoint_is_not_asked_for_again(path):
    path.rename(path.parent / "ledger.jsonl")
    assert f"{path.parent} has none)" in murmur("verify", path.parent).stdout


def test_entries_cut_off_at_the_end_show_beside_the_checkpoint(tmp_path):
    corpus = make_corpus(tmp_path / "corpus", {"train": 5, "test": 1}, utterances=1)
    folder = federate(recipe(corpus, **{"training.rounds": 2, "privacy.delta": 1e-4}))
    done = murmur("verify", folder)
    assert done.exit_code == 0
    assert "holds all that round-000002.safetensors saw" in done.stdout
    assert "2 entries, epsilon at delta 0.0001" in murmur("show").stdout  # of the newest run
    assert murmur("show").stdout == murmur("show", "--run", folder).stdout
    ledger = (folder / "ledger.jsonl").resolve()
    assert "holds all that the run folders beside it saw" in murmur("verify", ledger).stdout
    ledger.write_bytes(ledger.read_bytes().splitlines(keepends=True)[0])
    done = murmur("verify", ledger)  # a valid chain, as far as it goes
    assert done.exit_code == 1
    saw = f"{folder.name}/checkpoints/round-000002.safetensors"
    assert f"lacks entries that ward.head, {saw} recorded" in done.stderr
    done = murmur("verify", folder)
    assert done.exit_code == 1
    assert "ends with line 1" in done.stderr and "cut off at the end" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "/nowhere"], "there is no ledger /nowhere"),
        (["show"], "give a ledger file or a run folder"),
        (["show", "a", "--run", "b"], "give a path or --run, not both"),
    ],
)
def test_what_cannot_be_shown_is_said(arguments, message):
    done = murmur(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr


def test_a_ledger_that_is_not_there_is_not_verified():
    done = murmur("verify", "/nowhere")
    assert (done.exit_code, "there is no ledger /nowhere" in done.stderr) == (2, True)


def test_a_delta_out_of_range_is_refused(path):
    done = murmur("show", path, "--delta", 2)
    assert (done.exit_code, "delta=2" in done.stderr) == (2, True)


def test_names_in_a_ledger_move_no_terminal_and_add_no_line(tmp_path):
    path = tmp_path / "people.jsonl"
    with Ledger.open(path) as ledger:
        hostile = "ward\x1b[2J\ndata set ward: 0 releases, epsilon 0\u202e"
        ledger.spend(RELEASE, run=f"run {hostile}", dataset=hostile, round=1)
    done = murmur("show", path, "--delta", 1e-5)
    assert done.exit_code == 0
    assert "\x1b" not in done.stdout and "\u202e" not in done.stdout
    assert all(line.isprintable() for line in done.stdout.splitlines())
    assert not any(line.startswith("data set ward: 0") for line in done.stdout.splitlines())
    assert all(line.isprintable() for line in murmur("verify", path).output.splitlines())
    assert json.loads(murmur("show", path, "--json").stdout)["datasets"][0]["dataset"] == hostile
