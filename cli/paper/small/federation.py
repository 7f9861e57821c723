"""A whole federation in this process: the server and its nodes, without Ray between them.

Guarantee: server, node, sampling, clipping, noise, ledger and files are those of `murmur run`; only the
transport of messages is another. Nodes add integers, so how many nodes hold the speakers changes no sum.
"""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from flwr.app import Context, Message, MessageType, RecordDict

from recipes import RunConfig
from server.federation import run_federation
from strategies.direct_grid import DirectGrid, Node
from strategies.dp_fed_opt import OnMean

RUN = 1


def federate(config: RunConfig, nodes: int = 1, on_mean: OnMean | None = None) -> Path:
    """Run the federation of `config` to its end; return the run folder. What it prints is dropped.

    Args:
        config: The run configuration.
        nodes: How many nodes hold the speakers; one is quickest.
        on_mean: Called with each round's released mean before the server's step.

    Raises:
        ConfigError, SpeechError, RegistrationError, PrivacyError, TooFewAnswers, RepliesRefused: As
            `server.federation.run_federation`.
    """
    flat = config.to_flat()
    grid = DirectGrid({part + 1: _node(flat, part, nodes) for part in range(nodes)})
    with redirect_stdout(io.StringIO()):
        return run_federation(grid, config, run_id=str(RUN), on_mean=on_mean)


def _node(config: dict[str, Any], part: int, parts: int) -> Node:
    """The node, as a function, of a part of the speech; it keeps its state for the run."""
    from client import answers

    context = Context(
        run_id=RUN,
        node_id=part + 1,
        node_config={"partition-id": part, "num-partitions": parts},
        state=RecordDict(),
        run_config=config,
    )

    def node(message: Message) -> Message:
        asked = message.metadata.message_type == MessageType.TRAIN
        return (answers.train if asked else answers.query)(message, context)

    return node
