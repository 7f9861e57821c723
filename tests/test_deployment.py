"""A federation of real processes: a SuperLink and two SuperNodes, talking gRPC over loopback.

Each SuperNode holds its own corpus, which only its own `--node-config` names.
"""

import json
from contextlib import ExitStack

import grpc
import pytest

from cli.composing import app_folder
from cli.local_superlink import free_port
from privacy import read_ledger
from tests.corpora import make_corpus
from tests.processes import run_command, server, wait_until

pytestmark = pytest.mark.federation


def speaks_grpc(port):
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=1)
        except grpc.FutureTimeoutError:
            return False
    return True


@pytest.fixture
def deployment(tmp_path):
    """Start SuperLink and SuperNodes; yields the home folder they and the run share."""
    home = tmp_path / "home"
    (home / "flwr").mkdir(parents=True)
    runtime, fleet = free_port(), free_port()
    (home / "flwr" / "config.toml").write_text(
        f'[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = "127.0.0.1:{runtime}"\n'
        "insecure = true\n"
    )
    with ExitStack() as stack:
        stack.enter_context(
            server(
                "flower-superlink", "--insecure", "--host", "127.0.0.1", "--port", runtime,
                "--fleet-api-address", f"127.0.0.1:{fleet}",
                home=home, log=tmp_path / "superlink.log",
            )
        )  # fmt: skip
        wait_until(lambda: speaks_grpc(fleet), seconds=60, what="the SuperLink's gRPC port")
        for index, speakers in enumerate((2, 3)):
            corpus = make_corpus(tmp_path / f"node{index}", {"train": speakers})
            stack.enter_context(
                server(
                    "flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{fleet}",
                    "--port", free_port(), "--node-config",
                    f'corpus-kind="manifest" corpus-path="{corpus}"',
                    home=home, log=tmp_path / f"supernode{index}.log",
                )
            )  # fmt: skip
        yield home


def test_two_supernodes_train_on_their_own_speech(deployment, tmp_path):
    held_out = make_corpus(tmp_path / "held-out", {"test": 2})
    config = (
        f'corpus.kind="manifest" corpus.path="{held_out}" model.seed="random" training.min-nodes=2 '
        "training.rounds=2 training.cohort=5.0 training.round-deadline-seconds=60.0"
    )
    done = run_command(
        "flwr", "run", app_folder(), "--run-config", config, "--stream", home=deployment, cwd=tmp_path
    )
    assert "2 nodes hold 5 speakers" in done.stdout, done.stdout
    folder = deployment / "runs" / "latest"
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["round"] for line in metrics] == [0, 1, 2]
    assert [(line["nodes_asked"], line["nodes_answered"]) for line in metrics[1:]] == [(2, 2), (2, 2)]
    assert metrics[-1]["loss"] < metrics[0]["loss"]
    assert len(read_ledger(folder / "ledger.jsonl")) == 2
    listed = run_command("flwr", "ls", "--format", "json", home=deployment, cwd=tmp_path)
    assert "finished:completed" in listed.stdout
