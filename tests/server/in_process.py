"""A whole federation in one process: the real server, and nodes that answer at once.

The nodes hold silent speakers, whose updates are zero: what a round releases is then its noise alone, and
with a plain step on the server the models that the nodes see differ by exactly that.
"""

import torch
from flwr.app import Message, MessageType, RecordDict
from flwr.superlink.grid import InMemoryGrid

from cli.composing import default_config
from recipes import RunConfig
from server.federation import run_federation
from server.storage.checkpoints import load_checkpoint
from server.storage.run_folder import RunFolder
from server.storage.run_ids import run_of
from tests.strategies.federation import answer_to
from tests.strategies.flower import FakeGrid
from wire.messages import Task
from wire.node_info import NodeInfo

SPEAKERS = (3, 2)
PARTS = 10_000  # of the nodes' corpus; each holds the part with its number


def recipe(corpus, **changes) -> RunConfig:
    return RunConfig.from_flat(
        {
            **default_config(),
            "corpus.kind": "manifest",
            "corpus.path": str(corpus),
            "model.seed": "random",
            "training.rounds": 4,
            "training.cohort": 2.0,
            "privacy.noise-multiplier": 1.0,
            "privacy.delta": 1e-6,
            "privacy.population-name": "ward",
            **changes,
        }
    )


def part_of(message: Message, speakers: int, dataset: str, **said) -> RecordDict:
    """The registration of a node: it holds the part with its number."""
    part = message.metadata.dst_node_id
    return NodeInfo(
        speakers=speakers, dataset=dataset, split="train", part=part, parts=PARTS, **said
    ).to_record()


def silent_speakers(speakers, dataset="speech", saw=None, **said):
    """A node; `saw` is called with the round and the model of every task; `said` is in its registration."""

    def node(message: Message) -> RecordDict:
        if message.metadata.message_type == MessageType.QUERY:
            return part_of(message, speakers, dataset, **said)
        task, vector = Task.from_message(message)
        if saw:
            saw(task.round_number, vector)
        return answer_to(task, lambda number: torch.zeros(vector.numel())).to_record()

    return node


def run_of_folder(folder) -> str:
    """The id of the run in a folder."""
    newest = RunFolder(folder).newest_checkpoint()
    return run_of(load_checkpoint(newest, tensors=False), folder)


def federate(config: RunConfig, *, dataset="speech", saw=None, run_id="1", speakers=SPEAKERS, **said):
    """Run `config` to its end on nodes with so many speakers; returns the run folder."""
    nodes = {
        number: silent_speakers(held, dataset, saw, **said) for number, held in enumerate(speakers, start=1)
    }
    return run_federation(FakeGrid(nodes), config, run_id=run_id)


class SimulatedGrid(FakeGrid, InMemoryGrid):
    """To the server, that of a simulation: it sends a window's messages at a time, and minds refusals."""

    def __init__(self, nodes) -> None:
        FakeGrid.__init__(self, nodes)
