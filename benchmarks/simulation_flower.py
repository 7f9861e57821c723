"""Flower's own FedAdam in its DP wrapper, a speaker a node, on its simulation: run by `simulation`.

With "ours" the nodes train by our `LocalTrainer`, and what differs is what stands between it and the model.
With "plain" they train as in Flower's own examples: a model and data for each message, a plain loop.
"""

from __future__ import annotations

import logging
import os
import sys

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, FedAdam
from flwr.simulation import run_simulation
from torch import Tensor

from base.registries import MODEL_PRESETS
from benchmarks.local_training import plain_update
from benchmarks.simulation_speakers import (
    COHORT,
    PRESET,
    PROCESSES,
    RoundLog,
    corpus,
    first_vector,
    speaker_round,
    speakers,
    trainer,
)
from speech.data.examples import ExampleStore
from speech.model.ctc_transformer import CTCTransformer, build_model
from strategies import bind

server, client = ServerApp(), ClientApp()


@client.train()
def train(message: Message, context: Context) -> Message:
    """The usual: arrays into the model, local training, arrays out of the model."""
    model = build_model(PRESET, seed=0).train()
    state = message.content["arrays"].to_torch_state_dict()
    speaker = int(context.node_config["partition-id"])
    WAYS[str(message.content["config"]["way"])](model, state, speaker)
    metrics = MetricRecord({"num-examples": 1})
    return Message(
        RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics}), reply_to=message
    )


def train_by_ours(model: CTCTransformer, state: dict[str, Tensor], speaker: int) -> None:
    """`LocalTrainer.update`, with the features that simulations share."""
    layout, vector = bind(model)
    model.load_state_dict(state)
    update, _ = trainer().update(vector, speakers()[speaker], speaker_round(1, speaker))
    vector.sub_(update[: layout.size])


def train_plainly(model: CTCTransformer, state: dict[str, Tensor], speaker: int) -> None:
    """A plain loop on features made of the sound in each round."""
    name = corpus().speakers("train")[speaker]
    plain_update(model, state, ExampleStore(corpus(), MODEL_PRESETS[PRESET].features).examples("train", name))


WAYS = {"ours": train_by_ours, "plain": train_plainly}


@server.main()
def main(grid: Grid, context: Context) -> None:
    """All rounds; Flower's evaluation hook marks their ends and evaluates nothing."""
    logging.getLogger("flwr").setLevel(logging.WARNING)
    log = RoundLog(os.environ["ROUND_LOG"])

    before = [first_vector()]

    def mark(number: int, arrays: ArrayRecord) -> None:
        log.end(number) if number else log.begin()
        after = torch.cat([value.flatten() for value in arrays.to_torch_state_dict().values()])
        if number and after.equal(before[0]):
            raise RuntimeError(f"round {number} learnt nothing: all its clients failed")
        before[0] = after
        log.begin()

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
        train_config=ConfigRecord({"way": os.environ["WAY"]}),
        evaluate_fn=mark,
    )


if __name__ == "__main__":
    os.environ["ROUND_LOG"], os.environ["ROUNDS"], os.environ["WAY"] = sys.argv[1:]
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
