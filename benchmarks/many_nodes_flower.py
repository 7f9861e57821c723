"""Flower's own FedAdam in its DP wrapper on as many nodes as are asked: run by `many_nodes`.

Each node holds one synthetic speaker and trains by our `LocalTrainer`, so that what differs from `murmur run`
is what stands between that and the model: strategy, messages and the pool of workers.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, FedAdam
from flwr.simulation import run_simulation

from benchmarks.simulation_speakers import PRESET, PROCESSES, first_vector, speaker_round, synthetic, trainer
from speech.model.ctc_transformer import build_model
from strategies import bind

SMALL = 1e-3  # more than float32 loses beside a parameter

server, client = ServerApp(), ClientApp()


@client.train()
def train(message: Message, context: Context) -> Message:
    """Arrays into the model, `LocalTrainer.update`, arrays out of the model."""
    examples = synthetic(str(message.content["config"]["speakers"]))
    number = int(context.node_config["partition-id"])
    model = build_model(PRESET, seed=0).train()
    layout, vector = bind(model)
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    name = examples.corpus.speakers("train")[number]
    update, _ = trainer().update(vector, examples.examples("train", name), speaker_round(1, number))
    if not update.any():  # a node whose one utterance is too short: Flower's clip divides by the norm
        update[0] = SMALL
    vector.sub_(update[: layout.size])
    metrics = MetricRecord({"num-examples": 1})
    return Message(
        RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics}), reply_to=message
    )


class Counted(FedAdam):  # type: ignore[misc]  # flwr is untyped for us
    """Flower's, which keeps how many nodes answered."""

    answered = 0

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """As in Flower."""
        replies = list(replies)
        self.answered = sum(reply.has_content() for reply in replies)
        return super().aggregate_train(server_round, replies)


def main(log: Path, rounds: int, nodes: int) -> None:
    """All rounds on all nodes; a line for each goes to `log`."""

    @server.main()
    def federate(grid: Grid, context: Context) -> None:
        logging.getLogger("flwr").setLevel(logging.WARNING)
        strategy = Counted(fraction_evaluate=0.0, min_train_nodes=nodes, min_available_nodes=nodes, eta=0.006)
        began = [time.monotonic()]

        def mark(number: int, arrays: ArrayRecord) -> None:
            seconds, began[0] = time.monotonic() - began[0], time.monotonic()
            if number:
                line = {"drawn": nodes, "nodes_answered": strategy.answered, "seconds": seconds}
                with log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")

        model = build_model(PRESET, seed=0)
        bind(model)[1].copy_(first_vector())
        DifferentialPrivacyServerSideFixedClipping(strategy, 1.0, 0.2, nodes).start(
            grid,
            ArrayRecord(model.state_dict()),
            num_rounds=rounds,
            train_config=ConfigRecord({"speakers": f"{nodes}x1"}),
            evaluate_fn=mark,
        )

    run_simulation(
        server_app=server,
        client_app=client,
        num_supernodes=nodes,
        backend_config={
            "init_args": {"num_cpus": PROCESSES},
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        },
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
