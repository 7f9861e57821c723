"""Whoever controls the SuperLink submits an app that takes the speech: on a real SuperLink and SuperNodes.

One node runs Flower's own SuperExec, and loses its recordings; so the attack is real. The other runs `murmur
deploy clientapp`, and gives nothing. An honest run passes on both afterwards.
"""

import json
from contextlib import ExitStack

import pytest

from cli.approval.approvals import digest_of
from cli.approval.releases import own_bundle
from cli.deploy import credentials
from cli.processes import free_port
from tests.corpora import make_corpus
from tests.hostile_app import asking, thief
from tests.loopback import loopback
from tests.processes import run_command, server, wait_until

pytestmark = pytest.mark.federation


@pytest.fixture(scope="module")
def federation(tmp_path_factory):
    """Two nodes with their own speech; the second has a guard."""
    made = loopback(tmp_path_factory.mktemp("approval"))
    with ExitStack() as stack:
        stack.enter_context(made.superlink("superlink"))
        for name, speakers in (("open", 2), ("guarded", 3)):
            folder = made.folder / name
            corpus = make_corpus(folder / "speech", {"train": speakers})
            secret = credentials.make_secret(folder)[0]
            port = free_port()
            limits = 'limits="none"' + (" least-noise-multiplier=0.2" if name == "guarded" else "")
            stack.enter_context(made.isolated_supernode(name, corpus, port, secret, limits))
            if name == "open":
                words = ["flower-superexec", "--insecure", "--runtime-api-address", f"127.0.0.1:{port}",
                         "--superexec-auth-secret-file", secret]  # fmt: skip
            else:
                listed = run_command("murmur", "deploy", "approve", "--list", folder / "approved",
                                     home=made.home, cwd=made.folder)  # fmt: skip
                assert listed.returncode == 0, listed.stdout
                words = ["murmur", "deploy", "clientapp", "--supernode", f"127.0.0.1:{port}",
                         "--secret", secret, "--approved", folder / "approved"]  # fmt: skip
            log = made.folder / f"{name}-clientapp.log"
            stack.enter_context(server(*words, home=made.home, log=log))
        wait_until(lambda: made.online() == 2, seconds=60, what="both nodes online")
        yield made


def finish(federation, app):
    """Submit this app and wait for its end; returns the status."""
    answer = federation.flwr("run", app, "--format", "json").stdout
    number = str(json.loads(answer[answer.index("{") :])["run-id"])
    wait_until(lambda: federation.status(number).startswith("finished"), seconds=300, what="the run's end")
    return federation.status(number)


def answers(federation, app):
    """What the nodes answer a run of this app, in the words that reach the server."""
    assert finish(federation, app) == "finished:completed"
    return [json.dumps(said) for said in json.loads((federation.home / "loot.json").read_text())]


def test_an_app_of_our_name_gets_the_speech_of_an_open_node_only(federation, tmp_path):
    told = answers(federation, thief(tmp_path))
    speech, guarded = (
        max((federation.folder / name / "speech").glob("*.flac")).read_bytes().hex()
        for name in ("open", "guarded")
    )
    assert sum(speech in words for words in told) == 1  # the attack is real
    assert not any(guarded in words for words in told)
    refusal = next(words for words in told if speech not in words)
    approved = digest_of(own_bundle())
    sent = refusal.split("the server sent sha256 ")[1][:64]
    assert sent != approved
    for words in (refusal, federation.log("guarded-clientapp")):
        assert "this node runs only what its owner approved" in words
        assert approved in words and sent in words


def test_a_copy_with_one_line_changed_is_refused(federation, tmp_path):
    app = asking(tmp_path)
    with (app / "client" / "answers.py").open("a") as file:
        file.write("# one line more\n")
    told = answers(federation, app)
    assert len(told) == 2
    assert sum("this node runs only what its owner approved" in words for words in told) == 1
    assert sum('"speakers": 2' in words for words in told) == 1


def test_the_approved_release_runs_on_both_within_the_nodes_limits(federation):
    recipe = "training.rounds=1 training.cohort=5.0 training.min-nodes=2 privacy.population-name='clinics'"
    number = federation.submit(f"{recipe} privacy.noise-multiplier=0.1")
    wait_until(lambda: federation.status(number).startswith("finished"), seconds=300, what="the run's end")
    log = federation.flwr("log", number, "--show").stdout
    refusal = "privacy.noise-multiplier = 0.1: beyond this node's limit, least-noise-multiplier = 0.2"
    assert refusal in log, log
    assert refusal in federation.log("guarded-clientapp")
    assert not federation.run_folder.exists(), "something was spent"
    number = federation.submit(f"{recipe} privacy.noise-multiplier=0.3")
    wait_until(lambda: federation.status(number).startswith("finished"), seconds=300, what="the run's end")
    asked, answered = federation.answered()[0]
    assert asked == answered, federation.flwr("log", number, "--show").stdout
