"""`murmur run` on a Ray cluster of two nodes: both work, and a loss costs its round a share and no more."""

import json
import os
import signal

import pytest

from tests.corpora import make_corpus
from tests.processes import run_command, server, wait_until
from tests.ray_cluster import ray_cluster

pytestmark = pytest.mark.federation

NODES = 4
ROUNDS = (
    10_000  # more than are made: one worker goes on while another starts, which takes as long as it takes
)
AFTER = 3  # rounds that one Ray node makes alone


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    home, logs = tmp_path_factory.mktemp("ray-home"), tmp_path_factory.mktemp("logs")
    with ray_cluster(2, home=home, logs=logs) as made:
        yield made


def settings(corpus):
    """Every speaker in every round, each long enough at work to be caught at it, on a slow machine too."""
    return (
        f'corpus.kind="manifest" corpus.path="{corpus}" model.seed="random" training.rounds={ROUNDS} '
        "training.cohort=8.0 local.epochs=10 local.processor-seconds=60.0 run.sentences-shown=0 "
        'privacy.population-name="ward"'
    )


@pytest.mark.timeout(600)  # a cluster, and a run in which workers are started anew
def test_a_run_on_a_cluster_outlives_a_worker_and_then_a_whole_ray_node(cluster, tmp_path):
    corpus = make_corpus(tmp_path / "corpus", {"train": 2 * NODES, "test": 1})
    file, log = tmp_path / "runs" / "latest" / "traffic.jsonl", tmp_path / "run.log"

    def rounds():
        lines = file.read_text().split("\n")[:-1] if file.exists() else []
        return [line for line in map(json.loads, lines) if "drawn" in line]

    def lose(end):
        """Let `end` a worker of the second Ray node that is at a task; returns the round."""
        worker = []
        wait_until(
            lambda: worker or worker.extend(cluster.stop_a_busy_worker(1)), seconds=90, what="a busy worker"
        )
        under_way = len(rounds()) + 1
        end(*worker)
        return under_way

    arguments = ("--ray-address", cluster.address, "--nodes", str(NODES), "--set", settings(corpus))
    with server("murmur", "run", *arguments, home=tmp_path, log=log) as run:
        wait_until(lambda: rounds() or run.poll() is not None, seconds=150, what="the first round")
        assert run.poll() is None, log.read_text()
        first = lose(lambda worker: os.kill(worker, signal.SIGKILL))
        wait_until(lambda: len(rounds()) > first, seconds=90, what="a round after the lost worker")
        second = lose(lambda _: cluster.kill_node(1))
        wait_until(lambda: len(rounds()) >= second + AFTER, seconds=90, what="rounds after the lost Ray node")
        run.terminate()
        run.wait(60)
    assert [line["round"] for line in rounds()] == list(range(1, len(rounds()) + 1))
    assert first < second
    for line in rounds():
        reasons = [drop["reason"] for drop in line["dropped"]]
        # A worker that had one node's message left costs that node; of several, each is trained once more.
        most = int(line["round"] in (first, second))
        assert (line["nodes_asked"], line["nodes_answered"]) == (NODES, NODES - len(reasons)), log.read_text()
        assert len(reasons) <= most and all("the worker with this job died" in one for one in reasons)


def test_a_cluster_that_is_too_small_is_refused_before_anything_starts(cluster, tmp_path):
    done = run_command(
        "murmur", "run", "--ray-address", cluster.address, "--cpus-per-node", "2", home=tmp_path, cwd=tmp_path
    )
    assert done.returncode == 2
    assert "no Ray node has room for a worker of 2 CPUs" in done.stdout
    assert not (tmp_path / "runs").exists()
