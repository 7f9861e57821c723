"""`murmur paper small` at a size of seconds: real runs, a results folder and a book."""

import math

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.paper.results.record import read_results
from cli.paper.small import experiments, running, speech
from cli.paper.small.experiments import IID, read_study
from cli.paper.small.jobs import Jobs
from cli.paper.small.running import Running
from cli.paper.small.speech import Source
from client import speaker_processes
from server.errors import RegistrationError
from speech.errors import CorpusError
from tests.cli.paper.small.toy import STUDY, Maker, study_file
from tests.corpora import make_corpus

SMALLER = (
    STUDY.replace("seeds = [1, 2]", "seeds = [1]")
    .replace('["global", "dim"]', '["dim"]')
    .replace("[0.5, 1.0]", "[0.5]")
    .replace("tune = {", "# tune = {")
    .replace('cells = ["central", "start"]', 'cells = ["central", "start", "noise"]')
    .replace('of = "central"', 'of = "noise"')
    .replace("training.cohort = 2.0", "training.cohort = 3.0")  # all to whom speech is dealt
    .replace('start = "random"', 'start = "random"\nsettings = { "study.look-inside" = true }')
)
COMMAND = "murmur paper small --experiments toy.toml --speech speech"
HEAD, _, REST = SMALLER.partition("[[experiments]]")
SMALLER = HEAD + REST[REST.index("[[experiments]]") :]


def murmur(*arguments):
    return CliRunner().invoke(app, ["paper", "small", *map(str, arguments)])


@pytest.fixture
def corpus(tmp_path):
    return make_corpus(tmp_path / "speech", {"train": 6, "test": 2}, utterances=1).parent


@pytest.fixture(autouse=True)
def _no_process_stays():
    yield
    speaker_processes.forget()


def test_real_runs_leave_results_and_a_book(tmp_path, corpus):
    arguments = ["--experiments", study_file(tmp_path, SMALLER), "--folder", tmp_path / "results"]
    arguments += ["--book", tmp_path / "results.md", "--speech", corpus, "--processes", 1]
    done = murmur(*arguments)
    assert done.exit_code == 0, done.output
    found = {one.group.rpartition("/speech/")[2]: one for one in read_results(tmp_path / "results").values()}
    assert sorted(found) == ["central", "noise/dim/0.5", "start"]
    noisy, start = found["noise/dim/0.5"], found["start"]
    assert 0 < noisy.privacy.epsilon < math.inf and noisy.privacy.extrapolated_population == 1_000_000
    assert start.privacy.epsilon == math.inf and start.model.start == "random"
    assert len(start.layers.tensors) == len(start.layers.sizes) == 32 and noisy.layers is None
    assert start.layers.rounds == (1,)
    seen = zip(start.layers.update_norms, start.layers.mean_norms, strict=True)
    assert all(0 < mean <= 4 * norm for line in seen for norm, mean in zip(*line, strict=True))
    assert (noisy.population, noisy.data.split, len(noisy.wer.by_speaker)) == (4, "test", 2)
    assert [line["round"] for line in noisy.curve] == [0, 1]
    assert noisy.command == f"{COMMAND} --again noise/dim/0.5/seed-1"
    assert str(tmp_path) not in "".join(one.model_dump_json() for one in found.values())
    page = (tmp_path / "results.md").read_text()
    assert "noise/dim/0.5 less start" in page and "| runs | s, median |" in page
    assert "## speech, short size, toy\n\nA toy. Settings and claims: `toy.toml`." in page
    assert f"Run again: `{COMMAND}`." in page
    assert (tmp_path / "results" / "toy-short-speech-start-layers.png").is_file()
    assert "1 of" not in murmur(*arguments).output  # all is there


def test_a_run_that_fails_ends_it_with_the_reason_and_what_was_finished_stays(tmp_path, corpus, monkeypatch):
    done = Maker()

    def fails_at_the_second(make, job, share, prepared, folder):
        if done.made:
            raise RegistrationError("no node has registered")
        return done(job, share, prepared, folder)

    monkeypatch.setattr(running, "_run", fails_at_the_second)
    arguments = ["--experiments", study_file(tmp_path, SMALLER), "--folder", tmp_path / "results"]
    found = murmur(*arguments, "--book", tmp_path / "results.md", "--speech", corpus, "--processes", 1)
    assert found.exit_code == 2
    assert "murmur paper small: no node has registered" in found.output
    assert [one.name for one in read_results(tmp_path / "results").values()] == done.made


def test_a_seed_fixes_population_dev_and_deal(corpus):
    source = speech.Source.of(corpus)
    dealt = [speech.dealt(source, IID, seed, 0.34) for seed in (1, 1, 2)]
    assert dealt[0].digest == dealt[1].digest != dealt[2].digest
    plain = speech.dealt(source, "by speaker", 1, 0.34)
    assert plain.speakers("dev") == dealt[0].speakers("dev")
    assert len(plain.speakers("dev")) == 2 and len(plain.speakers("train")) == 4


def test_speakers_of_train_are_in_test_only_where_a_study_says_so(corpus):
    manifest = corpus / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace('"speaker": "test-', '"speaker": "train-'))
    with pytest.raises(CorpusError, match=r"2 speakers .* 'test' and 'train'.*shared-speakers = true"):
        speech.dealt(speech.Source.of(corpus), "by speaker", 1, 0.34)
    dealt = speech.dealt(speech.Source.of(corpus, shared_speakers=True), "by speaker", 1, 0.34)
    assert dealt.speakers("test") == ("train-00", "train-01")
    assert not set(dealt.speakers("dev")) & set(dealt.speakers("train"))


def test_a_cohort_beyond_the_population_is_refused_before_any_run(tmp_path, corpus):
    file = study_file(tmp_path, SMALLER.replace("training.cohort = 3.0", "training.cohort = 5.0"))
    arguments = ["--experiments", file, "--folder", tmp_path / "results", "--book", tmp_path / "results.md"]
    done = murmur(*arguments, "--speech", corpus, "--processes", 1)
    assert done.exit_code == 2
    assert "cell start: training.cohort = 5, and the population of speech is 3 speakers" in done.output
    assert not (tmp_path / "results").exists()


def test_every_call_writes_the_whole_book_of_the_results_that_are_there(tmp_path, monkeypatch):
    """The speech of another study's results need not be."""
    real = study_file(tmp_path / "other", SMALLER)
    file = study_file(tmp_path, SMALLER).rename(tmp_path / "mine.toml")
    monkeypatch.setattr(experiments, "STUDIES", (real,))
    for study, source in ((real, Source(name="speech")), (file, Source())):
        jobs = Jobs(study=read_study(study), source=source)
        Running(jobs=jobs, folder=tmp_path / "results", make=Maker(), say=str).complete(jobs.study.chosen([]))
    arguments = ["--experiments", file, "--folder", tmp_path / "results", "--book", tmp_path / "results.md"]
    done = murmur(*arguments)
    assert done.exit_code == 0, done.output
    page = (tmp_path / "results.md").read_text()
    assert "## speech, short size, toy" in page and "## embedded, short size, mine" in page
    assert page.count("noise/dim/0.5 less start") == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["optimizer"], "experiment 'optimizer': there is none; there are cohort, seed"),
        (["--speech", "nowhere"], "--speech nowhere: there is no such folder"),
        (["--experiments", "nowhere.toml"], "nowhere.toml: cannot be read"),
        (["iid", "--again", "cohort/99"], "--again cohort/99: no cell or run"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is_done(tmp_path, arguments, words):
    done = murmur(*arguments, "--folder", tmp_path / "results", "--book", tmp_path / "results.md")
    assert done.exit_code == 2 and words in " ".join(done.output.split())
    assert not (tmp_path / "results").exists()
