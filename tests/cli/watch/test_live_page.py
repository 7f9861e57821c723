"""The live page follows a run folder in every state that it can be in, and says what the report says."""

import json
import re
import shutil
import threading
from dataclasses import replace

import pytest

from cli.plan.curves import epsilon_by_round
from cli.report.page_view import Asked, page, sections_of
from cli.report.run_facts import RunFacts
from cli.watch.live_page import GONE, LivePage
from cli.watch.plan_section import PlannedCurves, plan_section
from privacy import PrivacyError, epsilon_text
from recipes import ConfigError
from server.errors import ResumeRefused
from server.storage.run_folder import RunFolder
from tests.cli.report.run_folders import ROUNDS, SECRETS, TENSORS, copied, make_run, plant, plant_norms
from tests.cli.watch.conftest import live_page

OWNER = Asked(audience="owner", corpus_may_be_published=False, command="murmur watch")


def said(page):
    """The sentence of the page on how far the run is, and its text."""
    return re.search(r"<strong>Live.</strong> (.*?)</p>", text_of(page))[1]


def text_of(page):
    return page.answer().content.decode()


def rounds_in(text):
    """Rows of the table of all numbers."""
    return re.search("<details><summary>As a table: All.*?</details>", text, re.S)[0].count('scope="row"')


def with_lines(run, to, count):
    """A copy of a run in which `count` lines of its metrics are there, and no evaluation."""
    made = copied(run, to)
    (made / "evaluation.json").unlink()
    lines = (made / "metrics.jsonl").read_text().splitlines(keepends=True)
    (made / "metrics.jsonl").write_text("".join(lines[:count]))
    return made, lines


def looked(page):
    page.look()
    return said(page)


def planned(page):
    """The page with its plan, which is computed beside it."""
    for thread in threading.enumerate():
        if thread.name == "plan":
            thread.join(60)
    page.look()
    return page


def test_a_run_from_before_its_first_round_to_its_end(run, tmp_path):
    made = copied(run, tmp_path / "runs")
    whole = made.rename(tmp_path / "runs" / "whole")
    made.mkdir()
    shutil.copy(whole / "config.toml", made)
    page = live_page(made)
    assert said(page) == "The run is about to begin." and "A run that is about to begin" in text_of(page)
    shutil.copytree(whole / "checkpoints", made / "checkpoints")
    (made / "ledger.jsonl").symlink_to(whole / "ledger.jsonl")
    for number in range(ROUNDS + 1):
        lines = (whole / "metrics.jsonl").read_text().splitlines(keepends=True)[: number + 1]
        (made / "metrics.jsonl").write_text("".join(lines))
        looked(page)
        assert rounds_in(text_of(page)) == number + 1
    assert looked(page) == f"Round {ROUNDS} of {ROUNDS} has ended."
    shutil.copy(whole / "evaluation.json", made)
    assert looked(page) == f"All {ROUNDS} rounds have ended." and not page.said


def test_a_line_that_is_half_written_is_no_round_yet(run, tmp_path):
    made, lines = with_lines(run, tmp_path / "runs", ROUNDS)
    page = planned(live_page(made, "public"))
    before = text_of(page)
    with (made / "metrics.jsonl").open("a") as file:
        file.write(lines[ROUNDS][:40])
    looked(page)
    assert text_of(page) == before and not page.said
    with (made / "metrics.jsonl").open("a") as file:
        file.write(lines[ROUNDS][40:])
    looked(page)
    assert rounds_in(text_of(page)) == rounds_in(before) + 1 == ROUNDS + 1


def test_a_run_that_is_resumed_goes_back(run, tmp_path):
    made = copied(run, tmp_path / "runs")
    page = live_page(made)
    assert said(page) == f"All {ROUNDS} rounds have ended."
    first = RunFolder(made).checkpoint(1)
    RunFolder(made).checkpoint(2).unlink()
    assert first.is_file()
    line = json.loads((made / "metrics.jsonl").read_text().splitlines()[1])
    RunFolder(made).reopen().append_metrics({**line, "resumed": True})
    assert looked(page) == f"Round 1 of {ROUNDS} has ended."


def test_a_folder_that_goes_away_leaves_its_last_page(run, tmp_path):
    made = copied(run, tmp_path / "runs")
    page = live_page(made)
    made.rename(tmp_path / "elsewhere")
    assert looked(page) == f"All {ROUNDS} rounds have ended."  # it may be between two files
    assert looked(page) == GONE and "The guarantee" in text_of(page)
    looked(page)
    assert page.said == [f"FileNotFoundError: {made} is not there"]
    (tmp_path / "elsewhere").rename(made)
    assert looked(page) == f"All {ROUNDS} rounds have ended."


@pytest.mark.parametrize("reader", ["owner", "public"])
def test_another_run_in_the_place_of_this_one_is_not_shown(run, tmp_path, reader):
    made = copied(run, tmp_path / "runs")
    page = planned(live_page(made, reader))
    before = text_of(page).replace(said(page), "")
    made.rename(tmp_path / "elsewhere")
    shutil.copytree(make_run(tmp_path / "other"), made)
    looked(page)
    assert looked(page).startswith("The run folder cannot be read now")
    assert text_of(page).replace(said(page), "") == before
    assert "has another run now" in page.said[0]


def test_the_curves_of_an_earlier_plan_come_too_late(run, monkeypatch):
    page, plan = planned(live_page(run)), RunFacts.of(run).plan
    monkeypatch.setattr(PlannedCurves, "of", lambda plan, larger: "of another plan")
    kept = page._curves
    page._compute(replace(plan, rounds=plan.rounds + 1), plan)
    assert page._curves is kept is not None


def test_whatever_a_file_holds_the_page_stays(run, tmp_path):
    made = copied(run, tmp_path / "runs")
    page = live_page(made)
    for name in ("metrics.jsonl", "traffic.jsonl", "evaluation.json"):
        whole = (made / name).read_text()
        for content in ("no JSON\n", "[]\n", '{"wer": 1}\n', "\x00\n"):
            (made / name).write_text(content + whole)
            looked(page)
            looked(page)
            assert "The guarantee" in text_of(page), (name, content)
        (made / name).write_text(whole)
        assert looked(page) == f"All {ROUNDS} rounds have ended."
    assert any("metrics.jsonl:1: is no JSON object" in one for one in page.said)


def test_a_run_that_deletes_a_checkpoint_while_it_is_read_is_read_again(run, tmp_path, monkeypatch):
    made = copied(run, tmp_path / "runs")
    inner, tries = RunFacts.of, []

    def of(path):
        tries.append(path)
        if len(tries) == 1:
            (made / "checkpoints" / "round-000001.safetensors").unlink()
            raise ResumeRefused("checkpoint ... cannot be read (No such file or directory)")
        return inner(path)

    monkeypatch.setattr(RunFacts, "of", of)
    page = live_page(made)
    assert len(tries) == 2 and said(page) == f"All {ROUNDS} rounds have ended." and not page.said


def test_a_page_is_made_only_when_the_run_went_on(run, tmp_path, monkeypatch, planned):
    made = copied(run, tmp_path / "runs")
    page = live_page(made)
    planned(page)
    before, read = page.answer(), []
    monkeypatch.setattr(RunFacts, "of", lambda path: read.append(path))
    page.look()
    assert page.answer() is before and not read


def test_nothing_is_written_into_the_run_folder(run, tmp_path, planned):
    made = copied(run, tmp_path / "runs")

    def files():
        return {one: (one.lstat().st_mtime_ns, one.lstat().st_size) for one in (tmp_path / "runs").rglob("*")}

    before = files()
    planned(live_page(made))
    assert files() == before


def test_the_plan_is_that_of_the_run(run, tmp_path, planned):
    text = planned(live_page(copied(run, tmp_path / "runs")))
    plan = RunFacts.of(run).plan
    charts = {one["title"]: one for one in json.loads(data_of(text)).values()}
    course = {
        one["name"]: one["points"]
        for one in charts["Epsilon to the end of the plan (RDP, this run)"]["series"]
    }
    assert course["planned"] == [list(one) for one in epsilon_by_round(plan)]
    assert course["planned"][-1] == [ROUNDS, plan.epsilon(pld=False).value]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert course["spent so far"] == [[line["round"], line["epsilon_rdp_this_run"]] for line in lines]
    assert any(name.startswith("not this run: N = 1,000,000") for name in course)
    noise = charts["Noise of a round beside the update, by trained parameters"]
    assert noise["log"] and "With 1,000 trained parameters already" in noise["said"]  # z / S is 2.5
    quiet = PlannedCurves.of(replace(plan, noise_multiplier=0.01), replace(plan, noise_multiplier=0.01))
    said = plan_section(quiet, sections_of([RunFacts.of(run)], {}, OWNER)[0], 372_222).charts[-1]["said"]
    assert "at 40,000 trained parameters" in said and "trains 372,222: its noise is 3.05 C" in said
    assert f"After all {ROUNDS} planned rounds epsilon is {epsilon_text(course['planned'][-1][1])}" in text


def data_of(text):
    return re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1]


def test_the_page_does_not_wait_for_the_plan(run, tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(threading.Thread, "start", lambda thread: started.append(thread.name))
    page = live_page(copied(run, tmp_path / "runs"))
    assert started == ["plan"]
    assert "The plan is being computed." in text_of(page) and "The guarantee" in text_of(page)


def test_the_size_of_a_model_without_a_public_name_is_left_out(run, tmp_path, planned, monkeypatch):
    assert "This run trains" in planned(live_page(run, "public"))
    monkeypatch.setattr(
        "cli.report.public.public_settings", lambda config: {"model.trainable": config.model.trainable}
    )
    assert "This run trains" not in planned(live_page(run, "public"))


def test_the_public_live_page_is_the_public_report(run, tmp_path, planned):
    made = copied(run, tmp_path / "runs")
    plant(RunFolder(made).path)
    plant_norms(RunFolder(made), TENSORS)
    live = planned(live_page(made, "public"))
    assert not [secret for secret in (*SECRETS, str(tmp_path), made.name) if secret in live]
    assert "a speaker, without noise" not in live
    asked = Asked(audience="public", corpus_may_be_published=False, command="murmur watch")
    report = page([RunFacts.of(made)], {}, asked)
    for part in ("run-1", "curves", "details"):
        found = [re.search(f'<section id="{part}".*?</section>', text, re.S)[0] for text in (report, live)]
        # Charts are numbered over the page, and those of the plan come before those of the details.
        numbered = [re.sub(r"\bc\d+\b", "chart", one) for one in found]
        assert numbered[0] == numbered[1]
    owners = planned(live_page(made))
    assert "a speaker, without noise" in owners and "planted-reason" in owners


def test_the_public_live_page_is_the_same_whatever_the_secret_files_say(run, tmp_path, planned):
    pages = []
    for place in ("a", "b"):
        made = copied(run, tmp_path / place)
        if place == "b":
            for name in ("traffic.jsonl", "not_private.jsonl"):
                (made / name).write_text("no JSON")
            for name in ("summary.txt", "card.md", "model.safetensors", "seed.safetensors"):
                (made / name).unlink()
        live = live_page(made, "public")
        pages.append(planned(live).replace(live.proof, ""))
    assert pages[0] == pages[1]


def test_what_cannot_be_shown_is_refused_before_it_is_served(run, tmp_path):
    with pytest.raises(ConfigError, match=r"is no run folder: it lacks config.toml"):
        live_page(tmp_path)
    made = copied(run, tmp_path / "runs")
    assert isinstance(live_page(made), LivePage)
    RunFolder(made).ledger.unlink()
    with pytest.raises(PrivacyError, match=r"its spending is not known"):
        live_page(made)
