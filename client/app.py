"""The ClientApp. Its answers are in `client.answers`.

They are imported when the first message comes: a simulation loads this app before it starts Ray, and would
import torch twice, one time after the other.
"""

from __future__ import annotations

import sys

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

DECLARE = "declare"  # as `wire.declared_plan` has it, which is not imported yet

app = ClientApp()

if "flwr.simulation" in sys.modules:  # Flower's engine loads this app before it makes its pool of workers
    from client.simulation.messages import use_quick_messages
    from client.simulation.workers import use_lasting_workers

    use_lasting_workers()
    use_quick_messages()


@app.query()
def query(message: Message, context: Context) -> Message:
    """Whom this node holds."""
    from client import answers

    return answers.query(message, context)


@app.query(DECLARE)
def declare(message: Message, context: Context) -> Message:
    """Whether this node takes part in a run with such a plan."""
    from client import answers

    return answers.declare(message, context)


@app.train()
def train(message: Message, context: Context) -> Message:
    """The sum of the drawn speakers' clipped updates."""
    from client import answers

    return answers.train(message, context)
