"""A study is completed run by run: what is finished is kept, what is not is made, tuning comes first."""

import subprocess
import sys

import pytest

import cli.paper.small.book
from cli.paper.results.record import read_results
from cli.paper.small.book import Book
from cli.paper.small.running import Running
from recipes import ConfigError
from tests.cli.paper.small.toy import STUDY, Maker, toy_jobs
from tests.processes import title, wait_until


@pytest.fixture(autouse=True)
def _drawn_at_once(monkeypatch):
    """A figure takes seconds; tests/cli/paper/small/test_command.py has some."""

    def draw(cells, x, path, compared):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{len(cells)} cells against {x}")

    monkeypatch.setattr(cli.paper.small.book, "draw", draw)


def complete(tmp_path, maker, *, text=STUDY, again=(), names=()):
    jobs = toy_jobs(tmp_path, text)
    running = Running(jobs=jobs, folder=tmp_path / "results", make=maker, say=lambda line: None)
    running.complete(jobs.study.chosen(names), again)
    return jobs


def test_a_second_call_makes_nothing_and_a_first_everything(tmp_path):
    maker = Maker()
    complete(tmp_path, maker)
    assert len(maker.made) == len(set(maker.made)) == 4 * 2 + (4 + 2) * 2
    assert set(maker.made) == {one.name for one in read_results(tmp_path / "results").values()}
    again = Maker()
    complete(tmp_path, again)
    assert again.made == []


def test_a_cell_may_have_seeds_of_its_own(tmp_path):
    own = STUDY.replace('start = "random"', 'start = "random"\nseeds = [2, 7]')
    maker = Maker()
    complete(tmp_path, maker, text=own, names=["start"], again=["start/seed-7"])
    assert [one.rpartition("/embedded/")[2] for one in maker.made] == [
        "central/seed-1",
        "central/seed-2",
        "start/seed-2",
        "start/seed-7",
    ]


def test_the_setting_with_the_lowest_wer_on_dev_is_what_the_seeds_use(tmp_path):
    complete(tmp_path, Maker(), names=["noise"])
    found = read_results(tmp_path / "results").values()
    assert {one.settings["server.learning-rate"] for one in found if one.purpose == "result"} == {0.02}
    assert {one.data.split for one in found if one.purpose == "tuning"} == {"dev"}


def test_after_a_kill_only_what_is_missing_is_made(tmp_path):
    killed = Maker(fail_at=11)
    with pytest.raises(KeyboardInterrupt):
        complete(tmp_path, killed)
    rest = Maker()
    complete(tmp_path, rest)
    assert not set(killed.made) & set(rest.made)
    assert len(killed.made) + len(rest.made) == 20


def test_a_torn_result_and_one_of_other_settings_are_made_again(tmp_path):
    jobs = complete(tmp_path, Maker())
    torn = tmp_path / "results" / "toy" / "short" / "embedded" / "start" / "seed-1.json"
    torn.write_text(torn.read_text()[:100])
    maker = Maker()
    complete(tmp_path, maker)
    assert maker.made == ["toy/short/embedded/start/seed-1"]
    maker = Maker()
    changed = STUDY.replace('"privacy.clip-bound" = 0.1', '"privacy.clip-bound" = 0.2')
    complete(tmp_path, maker, text=changed)
    assert len(maker.made) == 16 and all("/noise/" in name for name in maker.made)
    assert jobs.study.size == "short"


def test_a_run_is_made_again_on_demand(tmp_path):
    complete(tmp_path, Maker())
    maker = Maker()
    complete(tmp_path, maker, again=["start/seed-2", "noise/dim/1/tuning-0.02"])
    assert maker.made == [
        "toy/short/embedded/noise/dim/1/tuning-0.02",
        "toy/short/embedded/start/seed-2",
    ]
    with pytest.raises(ConfigError, match="--again stat"):
        complete(tmp_path, Maker(), again=["stat"])


def test_the_book_has_each_number_with_its_file_and_an_answer_to_each_claim(tmp_path):
    jobs = complete(tmp_path, Maker())
    page = tmp_path / "docs" / "results.md"
    Book(tmp_path / "results", page).write([jobs.study])
    text = page.read_text()
    link = "../results/toy/short/embedded/noise/dim/1/seed-2.json"
    assert f"[50.0]({link})" in text and (page.parent / link).is_file()
    assert "noise costs: **2 holds**, of 2 comparisons" in text
    assert "central training is better: **is undecided**. central less start: +0.0 points" in text
    assert "start over central: 1.000 (1.000 to 1.000)" in text
    for name in ("noise", "start"):
        assert (page.parent / "results" / f"toy-short-embedded-{name}.png").is_file()
    assert str(tmp_path) not in text
    before = text
    Book(tmp_path / "results", page).write([jobs.study])
    assert page.read_text() == before


def test_a_section_counts_what_its_experiments_say_of_the_same_claim(tmp_path):
    text = STUDY.replace('setting = "A toy."', 'setting = "A toy."\nsection = "All toys"')
    text = text.replace('text = "central training is better"', 'text = "noise costs"')
    jobs = complete(tmp_path, Maker(), text=text)
    page = tmp_path / "results.md"
    Book(tmp_path / "results", page).write([jobs.study])
    said = page.read_text()
    assert said.count("## All toys (embedded, short size)") == 1
    assert "noise costs, in all experiments of this section: **2 holds, 1 is undecided**, of 3" in said


def test_an_experiment_without_all_its_runs_has_no_answer(tmp_path):
    jobs = complete(tmp_path, Maker())
    (tmp_path / "results" / "toy" / "short" / "embedded" / "start" / "seed-2.json").unlink()
    page = tmp_path / "results.md"
    Book(tmp_path / "results", page).write([jobs.study])
    assert "1 of 2 cells have all their runs" in page.read_text()
    assert "central training is better" not in page.read_text()


def test_the_book_has_an_experiment_on_request_once_a_run_of_it_is_there(tmp_path):
    asked = STUDY.replace('name = "start"\ntitle', 'name = "start"\non-request = true\ntitle')
    book = Book(tmp_path / "results", tmp_path / "results.md")
    for names, shown in ((["noise"], False), (["start"], True)):
        jobs = complete(tmp_path, Maker(), text=asked, names=names)
        book.write([jobs.study])
        assert ("### Start" in (tmp_path / "results.md").read_text()) is shown


def test_a_process_of_a_killed_study_makes_no_more_runs():
    code = "\n".join(
        [
            "import os, time",
            "from concurrent.futures import ProcessPoolExecutor",
            "from multiprocessing import get_context",
            "from cli.paper.small.running import _end_with_the_parent",
            "pool = ProcessPoolExecutor(1, get_context('spawn'), initializer=_end_with_the_parent)",
            "print(pool.submit(os.getpid).result(), flush=True)",
            "pool.submit(time.sleep, 120)",
            "time.sleep(120)",
        ]
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as study:
        worker = int(study.stdout.readline())
        assert title(worker)
        study.kill()
        wait_until(lambda: not title(worker), seconds=30, what="the end of its process")
