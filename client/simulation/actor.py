"""The Ray actor that is a simulation's worker.

Flower's `ClientAppActor` does the same. But it loads all of `flwr.simulation`, with its databases and web
servers, which takes each worker a second of a processor.
"""

from __future__ import annotations

import ray
from flwr.app import Context, Message
from flwr.clientapp import ClientApp


@ray.remote
class WorkerActor:
    """Has the ClientApp answer one message at a time, for any node."""

    def run(
        self, app: ClientApp, message: Message, cid: str, context: Context
    ) -> tuple[str, Message, Context]:
        """Answer `message`. Flower's number of the node, `cid`, comes back beside answer and context."""
        return cid, app(message=message, context=context), context

    def terminate(self) -> None:
        """End this worker's process."""
        ray.actor.exit_actor()
