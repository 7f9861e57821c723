"""The Ray actor that is a simulation's worker.

Flower's `ClientAppActor` does the same; but to load it is to load the whole of `flwr.simulation`, with its
databases and web servers, which takes each worker a second of a processor.
"""

from __future__ import annotations

import ray
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.clientapp.client_app import ClientAppException


@ray.remote
class WorkerActor:
    """Has the ClientApp answer one message at a time, for whichever node it is meant."""

    def run(
        self, app: ClientApp, message: Message, cid: str, context: Context
    ) -> tuple[str, Message, Context]:
        """As Flower's engine asks: the answer, between the node's number and its context.

        Raises:
            ClientAppException: If the app raises.
        """
        try:
            answer = app(message=message, context=context)
        except Exception as error:
            raise ClientAppException(str(error)) from error
        return cid, answer, context

    def terminate(self) -> None:
        """End this worker's process."""
        ray.actor.exit_actor()
