"""A whole federation in this process: the server and one node, without Ray between them.

Guarantee: server, node, sampling, clipping, noise, ledger and files are those of `murmur run`; only the
transport of messages is another. A node adds integers, so how many nodes hold the speakers changes no sum.
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

NODE, RUN = 1, 1
ALL_SPEECH = {"partition-id": 0, "num-partitions": 1}


def federate(config: RunConfig) -> Path:
    """Run the federation of `config` to its end; return the run folder. What it prints is dropped.

    Raises:
        ConfigError, SpeechError, RegistrationError, PrivacyError, TooFewAnswers, RepliesRefused: As
            `server.federation.run_federation`.
    """
    with redirect_stdout(io.StringIO()):
        return run_federation(DirectGrid({NODE: _node(config.to_flat())}), config, run_id=str(RUN))


def _node(config: dict[str, Any]) -> Node:
    from client import answers

    context = Context(run_id=RUN, node_id=NODE, node_config=ALL_SPEECH, state=RecordDict(), run_config=config)

    def node(message: Message) -> Message:
        asked = message.metadata.message_type == MessageType.TRAIN
        return (answers.train if asked else answers.query)(message, context)

    return node
