"""`kill -9` of the server at 50 random instants, and around its durable steps; what it did comes out right.

The two broken servers are the control: the same check must find them.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.corpora import make_corpus

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"), {"train": 5, "test": 1}, utterances=1)


@pytest.fixture(scope="module")
def kill(corpus, tmp_path_factory):
    """Kills servers as `tests.server.kill_runs` does, in one process of it; returns its reports."""
    log = tmp_path_factory.mktemp("kills") / "log.txt"
    with log.open("w") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.server.kill_runs", str(corpus)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sink,
            text=True,
        )

    def report(folder, sabotage, deaths):
        print(folder, sabotage, deaths, file=process.stdin, flush=True)
        answer = process.stdout.readline()
        assert answer, log.read_text()[-5000:]
        return json.loads(answer)

    yield report
    process.stdin.close()
    assert process.wait(60) == 0, log.read_text()[-5000:]
    process.stdout.close()


@pytest.mark.parametrize("deaths", ["random", "every"])
def test_a_killed_run_hides_nothing_and_never_reuses_noise(tmp_path, kill, deaths):
    report = kill(tmp_path, "none", deaths)
    assert report["violations"] == []
    assert report["kills"] >= (50 if deaths == "random" else 20)
    assert report["noise_vectors"] >= 0.9 * report["releases"] > 4 * report["cases"]
    assert report["entries"] > report["releases"]  # some releases were lost, and are counted all the same


@pytest.mark.parametrize(
    ("sabotage", "found"), [("spend-late", "models are visible"), ("same-noise", "share noise")]
)
def test_a_server_that_breaks_the_promise_is_found(tmp_path, kill, sabotage, found):
    report = kill(tmp_path, sabotage, "some")
    assert any(found in violation for violation in report["violations"])
