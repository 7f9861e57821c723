"""Servers that die in the middle of a deployed run: what was spent stays spent, the run comes to its end."""

import os
import signal

import pytest

from privacy import epsilon, ledger_releases, read_ledger
from tests.corpora import make_corpus
from tests.loopback import loopback, nodes, serverapp_of
from tests.processes import server, wait_until
from tests.server.in_process import run_of_folder

pytestmark = pytest.mark.federation

ROUNDS = 4
DELTA = 1e-6


def settings(held_out, resume=""):
    return (
        f'corpus.kind="manifest" corpus.path="{held_out}" model.seed="random" training.min-nodes=2 '
        f"training.rounds={ROUNDS} training.cohort=5.0 training.round-deadline-seconds=60.0 "
        f'privacy.noise-multiplier=1.0 privacy.delta={DELTA} run.resume="{resume}" '
        'privacy.population-name="ward"'
    )


@pytest.mark.timeout(900)
def test_the_serverapp_is_resumed_and_the_superlink_comes_back(tmp_path):
    """A minute, for two deaths: the ServerApp's, and the SuperLink's after the run was resumed.

    With its database on disk the SuperLink still knows the nodes and the run, which goes on by itself.
    """
    made = loopback(tmp_path)
    held_out = make_corpus(tmp_path / "held-out", {"test": 1})
    apart = ("--isolation", "process", "--database", tmp_path / "superlink.db")
    executor = server(
        "flower-superexec", "--insecure", "--runtime-api-address", f"127.0.0.1:{made.runtime}",
        home=made.home, log=tmp_path / "serverapp.log",
    )  # fmt: skip

    def reached(number):
        return lambda: made.metrics() and made.metrics()[-1]["round"] >= number

    with executor, nodes(made, 2, 3):
        with made.superlink("superlink", *apart) as superlink:
            made.submit(settings(held_out))
            wait_until(reached(1), seconds=200, what="round 1")
            (serverapp,) = serverapp_of(made.home)
            os.kill(serverapp, signal.SIGKILL)
            folder = made.run_folder.resolve()
            before = len(read_ledger(folder / "ledger.jsonl"))

            second = made.submit(settings(held_out, resume="latest"))
            wait_until(
                lambda: any("resumed" in line for line in made.metrics()), seconds=200, what="resuming"
            )
            resumed_after = made.metrics()[-1]["round"]
            wait_until(reached(resumed_after + 1), seconds=200, what="a round of the resumed run")
            superlink.kill()
            superlink.wait()
        with made.superlink("superlink-again", *apart):
            wait_until(lambda: made.status(second).startswith("finished"), seconds=200, what="the end")
            assert made.status(second) == "finished:completed", made.log("serverapp")

    metrics = made.metrics()
    begun = next(place for place, line in enumerate(metrics) if "resumed" in line)
    assert [line["round"] for line in metrics[begun + 1 :]] == list(range(resumed_after + 1, ROUNDS + 1))
    entries = read_ledger(folder / "ledger.jsonl")
    assert folder == made.run_folder.resolve()
    assert {entry.run for entry in entries} == {run_of_folder(folder)}
    assert len(entries) == before + ROUNDS - resumed_after >= ROUNDS
    spent = epsilon(ledger_releases(entries), DELTA, pld=False).rdp
    assert metrics[-1]["epsilon_rdp_this_run"] == pytest.approx(spent, rel=1e-9)
    assert f"resumed after round {resumed_after}" in (folder / "summary.txt").read_text()
