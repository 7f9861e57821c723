"""The paper's model through Flower's gRPC: `python -m benchmarks.large_model [nodes]`.

A SuperLink, SuperNodes that each hold two speakers, and the two apps, in processes of their own on this
host's loopback; private rounds of the 255.8 M parameter model from a random seed, with one real local step a
speaker (one utterance of a second: the training is small, everything else is of full size). Reported are the
time of each phase of a round as seen from outside, the bytes of a round, and every process' peak memory.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import grpc

from benchmarks.report import conditions, table, write
from benchmarks.watch import Watch, every_half_second
from cli.processes import QUIET, free_port
from recipes import checkout
from tests.corpora import make_corpus
from tests.processes import run_command, server, wait_until

ROUNDS, SPEAKERS = 2, 2
SECONDS = 1500.0
PARAMETERS = 255_800_864
NOTES = """A round begins with the line of the round before. Its first phase holds the way down (ServerApp,
SuperLink, SuperNode) and Flower's polls; the second the start of the ClientApp's process, the way into it,
one step for each of its speakers, clip, round, add and pack; the third the way up, unpacking, checking, the
ledger, noise, the server's step, checkpoint (three vectors) and model on disk, and reading one sentence. The
bytes are those of the arrays; the model travels to every node that holds a drawn speaker."""
PARTS = ("flower-superlink", "flwr-serverapp", "flower-supernode", "flwr-clientapp")
SETTINGS = (
    'model.name="paper" model.seed="random" local.epochs=0 local.steps=1 local.batch-size=1 '
    "run.sentences-shown=0"
)


def federation(home: Path, nodes: int, watch: Watch) -> tuple[list[dict[str, object]], str]:
    """Run it; returns what traffic.jsonl has of each round, and the text of the summary."""
    (home / "flwr").mkdir()
    runtime, fleet = free_port(), free_port()
    (home / "flwr" / "config.toml").write_text(
        f'[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = "127.0.0.1:{runtime}"\n'
        "insecure = true\n"
    )
    with ExitStack() as stack:
        link = ("flower-superlink", "--insecure", "--host", "127.0.0.1", "--port", runtime)
        fleet_api = ("--fleet-api-address", f"127.0.0.1:{fleet}")
        stack.enter_context(server(*link, *fleet_api, home=home, log=home / "superlink.log"))
        wait_until(lambda: _speaks_grpc(fleet), seconds=60, what="the SuperLink's gRPC port")
        for index in range(nodes):
            corpus = make_corpus(home / f"node{index}", {"train": SPEAKERS}, utterances=1)
            node = (
                "flower-supernode",
                "--insecure",
                "--superlink",
                f"127.0.0.1:{fleet}",
                "--port",
                free_port(),
            )
            speech = ("--node-config", f'corpus-kind="manifest" corpus-path="{corpus}" limits="none"')
            stack.enter_context(server(*node, *speech, home=home, log=home / f"supernode{index}.log"))
        stack.callback(every_half_second(watch.look))
        held_out = make_corpus(home / "held-out", {"test": 1}, utterances=1)
        config = (
            f'corpus.kind="manifest" corpus.path="{held_out}" {SETTINGS} training.rounds={ROUNDS} '
            f"training.min-nodes={nodes} training.cohort={float(SPEAKERS * nodes)} "
            f'training.round-deadline-seconds={SECONDS} privacy.population-name="tones"'
        )
        run = ("flwr", "run", checkout(), "--run-config", config, "--stream")
        done = run_command(*run, home=home, cwd=home, seconds=SECONDS)
    folder = home / "runs" / "latest"
    if not (folder / "summary.txt").exists():
        raise SystemExit(f"the run did not end well:\n{done.stdout[-4000:]}")
    lines = [json.loads(line) for line in (folder / "traffic.jsonl").read_text().splitlines()]
    return [line for line in lines if "drawn" in line], (folder / "summary.txt").read_text()


def _speaks_grpc(port: int) -> bool:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=1)
        except grpc.FutureTimeoutError:
            return False
    return True


def main() -> None:
    """Run it and write the page."""
    os.environ.update(QUIET)
    nodes = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    with tempfile.TemporaryDirectory() as folder:
        watch = Watch(folder, PARTS)
        lines, summary = federation(Path(folder), nodes, watch)
    print(summary)
    times = [
        ("round", "until the ClientApp starts, s", "ClientApp, s", "from its end to the line of the round, s")
    ]
    times += [(str(n), *(f"{part:.0f}" for part in watch.phases(n))) for n in range(1, ROUNDS + 1)]
    memory = [("process", "peak resident memory, GiB")]
    memory += [(part, f"{watch.peak(part) / 2**30:.2f}") for part in PARTS]
    sizes = [("", "bytes a round", "of float32")]
    for name in ("bytes_down", "bytes_up"):
        value = int(str(lines[-1][name]))
        sizes.append((name, f"{value:,}", f"{value / (4 * PARAMETERS * nodes):.3f}"))
    title = "# 255.8 M parameters through gRPC"
    set_up = f"{conditions()}\n- {nodes} SuperNode(s) with {SPEAKERS} speakers each"
    parts = [title, set_up, *map(table, (times, sizes, memory)), NOTES]
    write(Path(__file__).with_suffix(".md"), "\n\n".join(parts))


if __name__ == "__main__":
    sys.exit(main())
