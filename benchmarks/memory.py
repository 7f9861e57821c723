"""Peak memory of the server and of a node, in model sizes: `python -m benchmarks.memory`.

The goals: the server's peak does not grow with the cohort (16 to 1024 speakers over 8 nodes, within 10 %)
and is at most 6 model sizes; a simulated node's is at most 4 and its batch. Each number is that of a process
of its own, and of the process in which a node's speakers are trained; what both share counts once. It says
how much they grew above what was held with all libraries loaded and compiled, before the model was made.
Flower's own transport is not in it: benchmarks/large_model.py has that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from uuid import uuid4

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MessageType, RecordDict

from base.registries import MODEL_PRESETS
from benchmarks.report import Ratio, conditions, table, write
from cli.composing import default_config
from client.app import app
from client.speaker_processes import forget
from privacy import LayerLayout, add_clipped_, pack
from recipes import RunConfig
from server.factory import make_bounds
from server.federation import run_federation
from speech.corpora.loading import load_corpus
from speech.data.batching import collate
from speech.data.examples import ExampleStore
from speech.model.ctc_transformer import build_model
from strategies import bind, bind_gradients
from tests.corpora import make_corpus
from tests.strategies.flower import FakeGrid, answer_of
from wire.messages import Task, pack_vector
from wire.node_info import NodeInfo

NODES, COHORTS, SPEAKERS = 8, (16, 128, 1024), (1, 8)
PRESET = "quarter"  # of the paper's size


def register(preset: str, width: int) -> None:
    """Let there be a preset that is the paper's at another width, in as many tensors."""
    paper = MODEL_PRESETS["paper"]
    MODEL_PRESETS.add(preset)(replace(paper, shape=replace(paper.shape, width=width, feed_forward=4 * width)))


register(PRESET, 384)


def recipe(folder: Path, preset: str, cohort: int) -> dict[str, object]:
    """The settings of a run with LAMB in which everybody is drawn in each round."""
    corpus = make_corpus(folder / "corpus", {"train": max(SPEAKERS), "test": 1}, utterances=1)
    return {
        **default_config(),
        "corpus.kind": "manifest",
        "corpus.path": str(corpus),
        "corpus.feature-cache": False,
        "model.name": preset,
        "model.seed": "random",
        "training.rounds": 2,
        "training.cohort": float(cohort),
        "server.optimiser": "lamb",
        "privacy.noise-multiplier": 1.0,
        "privacy.population-name": "tones",
        "run.folder": str(folder / "runs"),
        "run.sentences-shown": 0,
    }


def layout_of(preset: str) -> LayerLayout:
    """The model's layout, without its memory."""
    with torch.device("meta"):
        model = build_model(preset)
    return LayerLayout.of((name, tuple(value.shape)) for name, value in model.named_parameters())


class ThinGrid(FakeGrid):
    """As Flower's gRPC grid, it holds no array that travels: replies are made when they are pulled."""

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Keep of each message what is no array."""
        for message in messages:
            labels = {name: one for name, one in message.content.items() if not isinstance(one, ArrayRecord)}
            metadata = message.metadata
            metadata.__dict__["_message_id"] = uuid4().hex
            stub = Message(RecordDict(labels), metadata.dst_node_id, metadata.message_type)
            stub.metadata.__dict__["_message_id"] = metadata.message_id
            self.waiting[metadata.message_id] = stub
        return list(self.waiting)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterator[Message]:
        """Answer them."""
        for message_id in message_ids:
            if message_id in self.waiting:
                asked = self.waiting.pop(message_id)
                yield Message(answer_of(self.nodes, asked), reply_to=asked)


def made_node(config: RunConfig, count: int) -> Callable[[Message], RecordDict]:
    """A node whose `count` speakers all have the same random update; each reply has bytes of its own."""
    bounds, quantiser = make_bounds(config.privacy, layout_of(config.model.name))
    total = torch.zeros(bounds.size, dtype=torch.int32)
    add_clipped_(
        total, torch.randn(bounds.size, generator=torch.Generator().manual_seed(0)), bounds, quantiser
    )
    packed = Array(pack(total.mul_(count), count, bounds, quantiser))

    def node(message: Message) -> RecordDict:
        if message.metadata.message_type == MessageType.QUERY:
            part = message.metadata.dst_node_id
            held = NodeInfo(speakers=count, dataset="speakers", split="train", part=part, parts=NODES + 1)
            return held.to_record()
        task = message.content["task"]
        names = {name: task[name] for name in ("version", "round", "nonce", "layout", "dataset")}
        data = bytes(memoryview(packed.data))
        sums = Array(dtype=packed.dtype, shape=packed.shape, stype=packed.stype, data=data)
        labels = ConfigRecord({**names, "count": count})
        return RecordDict({"sum": ArrayRecord({"packed": sums}), "answer": labels})

    return node


def server(folder: Path, preset: str, cohort: int) -> Callable[[], object]:
    """A whole run of the server with `NODES` made nodes: rounds, checkpoints, models, held-out speech."""
    config = RunConfig.from_flat(recipe(folder, preset, cohort))
    node = made_node(config, cohort // NODES)
    return lambda: run_federation(ThinGrid(dict.fromkeys(range(1, NODES + 1), node)), config, run_id="1")


def client(folder: Path, preset: str, speakers: int) -> Callable[[], object]:
    """A task of `speakers` speakers through the ClientApp: train, clip, add and pack."""
    flat = recipe(folder, preset, speakers)
    layout = layout_of(preset)
    bounds, quantiser = make_bounds(RunConfig.from_flat(flat).privacy, layout)
    task = Task(
        round_number=1,
        nonce="",
        layout=layout.digest,
        speakers=tuple(range(speakers)),
        bounds=bounds,
        quantiser=quantiser,
    )
    node_config = {"partition-id": 0, "num-partitions": 1}
    context = Context(run_id=1, node_id=1, node_config=node_config, state=RecordDict(), run_config=flat)

    def answer() -> None:
        message = task.to_message(1, pack_vector(torch.zeros(layout.size)), 60.0)
        reply = app(message, context)
        if "sum" not in reply.content:
            raise SystemExit(f"the node could not train: {reply.content['answer']}")

    return answer


def bare(folder: Path, preset: str, speakers: int) -> Callable[[], object]:
    """One forward and backward pass of a node's batch over the model and its gradients, nothing else."""
    corpus = load_corpus("manifest", str(recipe(folder, preset, speakers)["corpus.path"]))
    examples = ExampleStore(corpus, MODEL_PRESETS[preset].features).examples(
        "train", corpus.speakers("train")[0]
    )

    def step() -> None:
        model = build_model(preset).train()
        layout, _ = bind(model)
        bind_gradients(model, layout)
        model.objective(collate(examples)).backward()

    return step


ROLES = {"server": server, "node": client, "bare": bare}


def grown(role: str, number: int) -> None:
    """Print by how many bytes this process' peak grows when it plays `role` for so many speakers."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tiny").mkdir()
        ROLES[role](Path(folder) / "tiny", "tiny", number)()  # loads and compiles all there is
        forget()  # the process in which the first node's speakers were trained
        play = ROLES[role](Path(folder), PRESET, number)
        with Peak() as peak:
            play()
        print(json.dumps(peak.bytes - peak.before))


class Peak:
    """The most memory that this process and its children hold while the context lasts; looked at often."""

    def __enter__(self) -> Peak:
        self.before = self.bytes = _held_bytes()
        self._over = Event()
        self._thread = Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.01):
            self.bytes = max(self.bytes, _held_bytes())


def _held_bytes() -> int:
    """Of this process and its children: a page that two of them share counts half for each."""
    own = os.getpid()
    children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
    return sum(map(_proportional_bytes, [str(own), *children]))


def _proportional_bytes(process: str) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:  # it is over
        return 0
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def sizes(role: str, number: int, model_bytes: int) -> float:
    """`grown` in a process of its own, in model sizes."""
    command = [sys.executable, "-m", "benchmarks.memory", role, str(number)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{role} with {number} speakers failed:\n{done.stderr[-3000:]}")
    return float(json.loads(done.stdout.splitlines()[-1])) / model_bytes


def main() -> None:
    """Measure each in a process of its own and write the page."""
    parameters = layout_of(PRESET).size
    servers = {cohort: sizes("server", cohort, 4 * parameters) for cohort in COHORTS}
    nodes = {count: sizes("node", count, 4 * parameters) for count in SPEAKERS}
    rows = [("process", "speakers in the round", "peak, model sizes")]
    rows += [(f"server, {NODES} nodes", str(cohort), f"{peak:.2f}") for cohort, peak in servers.items()]
    rows += [("simulated node", str(count), f"{peak:.2f}") for count, peak in nodes.items()]
    batch = sizes("bare", 1, 4 * parameters) - 2
    rows += [("batch of a node (one utterance of a second)", "", f"{batch:.2f}")]
    ratios = [
        Ratio(name="server, model sizes", value=max(servers.values()), at_most=6.0),
        Ratio(name="server, cohort of 1024 over one of 16", value=servers[1024] / servers[16], at_most=1.1),
        Ratio(
            name="node without its batch, model sizes",
            value=max(nodes.values()) - batch,
            at_most=4.0,
        ),
    ]
    verdicts = ", ".join(f"{one.name}: {one.value:.2f} ({one.goal}: {one.verdict})" for one in ratios)
    text = (
        f"# Memory at {parameters:,} parameters\n\n{conditions()}\n\n{table(rows)}\n\n{NOTES}\n\n{verdicts}."
    )
    write(Path(__file__).with_suffix(".md"), text, ratios)


NOTES = f"""The model has the paper's 296 tensors at half its width. The server is the whole ServerApp (held-
out speech, rounds with LAMB, checkpoints of three vectors, models, ledger); its {NODES} nodes are made, and
every reply has bytes of its own. The node is the ClientApp, and the process in which its speakers are
trained, one after the other on one utterance each; it clips, rounds, adds and packs. Its batch is what a bare
forward and backward pass takes in a process of its own, without model and gradients; the difference of two
processes is good for a tenth or so."""

if __name__ == "__main__":
    if len(sys.argv) > 1:
        grown(sys.argv[1], int(sys.argv[2]))
    else:
        main()
