"""The ClientApp: it passes messages on to `client.answers`.

It imports them when the first message comes. A simulation loads this app before it starts Ray, and would
import torch twice, one time after the other.
"""

from __future__ import annotations

import sys

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from wire.names import DECLARE

app = ClientApp()

if "flwr.simulation" in sys.modules:  # Flower's engine loads this app before it makes its pool of workers
    from client.simulation.flower_seam import use_in_engine

    use_in_engine()


@app.query()  # type: ignore[untyped-decorator]  # flwr is untyped for us
def query(message: Message, context: Context) -> Message:
    """Answer registration: which speakers this node has."""
    from client import answers

    return answers.query(message, context)


@app.query(DECLARE)  # type: ignore[untyped-decorator]
def declare(message: Message, context: Context) -> Message:
    """Answer whether this node takes part in a run with the declared plan."""
    from client import answers

    return answers.declare(message, context)


@app.train()  # type: ignore[untyped-decorator]
def train(message: Message, context: Context) -> Message:
    """Answer a task with the sum of the drawn speakers' clipped updates."""
    from client import answers

    return answers.train(message, context)
