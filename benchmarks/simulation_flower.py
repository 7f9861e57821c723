"""Flower's own FedAdam in its DP wrapper, a speaker a node, on its simulation: run by `simulation`.

The nodes train by our `LocalTrainer`; what differs is what stands between it and the model.
"""

from __future__ import annotations

import logging
import os
import sys

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, FedAdam
from flwr.simulation import run_simulation

from benchmarks.simulation_speakers import (
    COHORT,
    PRESET,
    PROCESSES,
    RoundLog,
    first_vector,
    speakers,
    trainer,
)
from speech.model import build_model
from strategies import bind

server, client = ServerApp(), ClientApp()


@client.train()
def train(message: Message, context: Context) -> Message:
    """The usual: arrays into the model, local training, arrays out of the model."""
    model = build_model(PRESET, seed=0)
    layout, vector = bind(model)
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    speaker = int(context.node_config["partition-id"])
    update, loss = trainer().update(vector, speakers()[speaker], (1, speaker))
    vector.sub_(update[: layout.size])
    metrics = MetricRecord({"num-examples": 1, "loss": loss})
    return Message(
        RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics}), reply_to=message
    )


@server.main()
def main(grid: Grid, context: Context) -> None:
    """All rounds; Flower's evaluation hook marks their ends and evaluates nothing."""
    logging.getLogger("flwr").setLevel(logging.WARNING)
    log = RoundLog(os.environ["ROUND_LOG"])

    def mark(number: int, _: ArrayRecord) -> None:
        log.end(number) if number else log.begin()

    strategy = FedAdam(
        fraction_train=COHORT / len(speakers()), min_train_nodes=COHORT, fraction_evaluate=0.0, eta=0.006
    )
    private = DifferentialPrivacyServerSideFixedClipping(strategy, 0.03, 0.2, COHORT)
    model = build_model(PRESET, seed=0)
    bind(model)[1].copy_(first_vector())
    private.start(
        grid,
        ArrayRecord(model.state_dict()),
        num_rounds=int(os.environ["ROUNDS"]),
        evaluate_fn=mark,
    )


if __name__ == "__main__":
    os.environ["ROUND_LOG"], os.environ["ROUNDS"] = sys.argv[1:]
    torch.set_num_threads(1)
    run_simulation(
        server_app=server,
        client_app=client,
        num_supernodes=len(speakers()),
        backend_config={
            "init_args": {"num_cpus": PROCESSES},
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        },
    )
