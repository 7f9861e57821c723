"""What `murmur run` decides before anything starts; whole runs are in tests/test_simulation.py."""

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.run_settings import check, recipe_of_run
from server.errors import ResumeRefused
from speech.errors import CorpusError
from tests.corpora import make_corpus
from tests.server.in_process import federate, recipe


@pytest.fixture
def folder(tmp_path):
    corpus = make_corpus(tmp_path / "corpus", {"train": 5, "test": 1}, utterances=1)
    return federate(recipe(corpus, **{"training.rounds": 1, "server.beta1": 0.5}))


def test_a_run_is_resumed_by_its_own_recipe(folder, monkeypatch):
    by_name = recipe_of_run("latest", {})
    assert by_name["server.beta1"] == 0.5
    assert by_name["run.resume"] == str(folder)
    assert check(by_name).run.resume == str(folder)
    monkeypatch.chdir(folder.parent)
    assert recipe_of_run(folder.name, {}) == by_name  # a path counts from here, as a person types it


def test_a_resumed_run_that_would_be_another_is_refused_before_anything_starts(folder):
    done = CliRunner().invoke(app, ["run", "--resume", str(folder), "--set", "server.beta1=0.6"])
    assert done.exit_code == 2
    assert "server.beta1 was 0.5 and is now 0.6" in done.stderr


def test_no_run_to_resume_is_said(folder):
    done = CliRunner().invoke(app, ["run", "--resume", "runs/none"])
    assert (done.exit_code, "there is no run folder" in done.stderr) == (2, True)
    with pytest.raises(ResumeRefused):
        recipe_of_run("latest", {"run.folder": "elsewhere"})


def test_more_nodes_than_speakers_are_refused_before_anything_starts():
    done = CliRunner().invoke(app, ["run", "--nodes", "97"])
    assert done.exit_code == 2
    assert "--nodes 97: corpus embedded has 96 speakers in split 'train'" in done.stderr
    assert "fewer than the 97 nodes of the federation: use at most 96 nodes" in done.stderr


def test_people_in_two_splits_are_refused_before_anything_starts(tmp_path):
    manifest = make_corpus(tmp_path, {"train": 2, "test": 2})
    manifest.write_text(manifest.read_text().replace('"test-00"', '"train-00"'))
    corpus = {"corpus.kind": "manifest", "corpus.path": str(manifest)}
    with pytest.raises(CorpusError, match="the first 'train-00' in 'test' and 'train'"):
        check(corpus)
    check({**corpus, "corpus.shared-speakers": True})
