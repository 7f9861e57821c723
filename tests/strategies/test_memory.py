"""Aggregation is O(model): the server's peak memory does not grow with the number of replies."""

import json
import subprocess
import sys

COORDINATES = 10_000_000
PROGRAM = """
import json, resource, sys
from pathlib import Path

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

torch.set_num_threads(1)
from privacy import LayerLayout, Ledger, PrivacyPlan, pack
from strategies import DPFedOpt, GlobalModel, Mechanism, PopulationIndex, ServerStep, TrainingRun
from tests.strategies.federation import PlainStep
from tests.strategies import flower

folder, nodes, size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
layout = LayerLayout.of({"large": (size - 1000,), "small": (1000,)})
plan = PrivacyPlan(population=nodes, cohort=float(nodes), rounds=1, noise_multiplier=1.0, delta=1e-6)
strategy = DPFedOpt(
    model=GlobalModel(vector=torch.zeros(size), layout=layout),
    mechanism=Mechanism.of(plan, layout, clip_bound=1.0),
    server_step=ServerStep(optimiser=PlainStep(), learning_rate=1.0),
    run=TrainingRun(
        population_index=PopulationIndex.of(dict.fromkeys(range(1, nodes + 1), 1)),
        ledger=Ledger.open(folder / "ledger.jsonl"),
        dataset="people",
        run_id="memory",
    ),
)
bounds = strategy.bounds

ones = torch.ones(bounds.size, dtype=torch.int32)
template = Array(pack(ones, 1, bounds, strategy.quantiser))
del ones

def answer(message):
    task = message.content["task"]
    names = {name: task[name] for name in ("version", "round", "nonce", "layout", "dataset")}
    labels = ConfigRecord({**names, "count": 1})
    data = template.data[:-1] + template.data[-1:]  # every reply has bytes of its own
    sums = Array(dtype=template.dtype, shape=template.shape, stype=template.stype, data=data)
    return RecordDict({"sum": ArrayRecord({"packed": sums}), "answer": labels})

def replies(messages):
    for message in messages:
        yield Message(answer(message), reply_to=message)

messages = strategy.configure_train(1, strategy.arrays(), ConfigRecord(), None)
for message in messages:  # as a grid does when it pushes them
    message.metadata.__dict__["_message_id"] = str(message.metadata.dst_node_id)
strategy.aggregate_train(1, replies(messages))
report = strategy.last_report
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"peak": peak, "answered": report.nodes_answered, "asked": report.nodes_asked}))
"""


def peak_bytes(folder, nodes, size=COORDINATES):
    """The peak memory of a process that runs one round of a model of this size with so many replies."""
    folder = folder / f"{nodes}-{size}"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), str(nodes), str(size)],
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["answered"] == said["asked"] == nodes
    return said["peak"]


def test_64_replies_need_no_more_memory_than_4(tmp_path):
    few, many = peak_bytes(tmp_path, 4), peak_bytes(tmp_path, 64)
    assert many <= 1.05 * few, f"{few / 1e6:.0f} MB with 4 replies, {many / 1e6:.0f} MB with 64"
    libraries = peak_bytes(tmp_path, 4, size=2_000)
    assert few - libraries < 7 * 4 * COORDINATES  # vectors of the model's size
