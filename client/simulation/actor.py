"""The Ray actor that is a simulation's worker.

Flower's `ClientAppActor` loads all of `flwr.simulation`, with its databases and web servers, which takes each
worker a second of a processor, and gets one message in a call.
"""

from __future__ import annotations

import copyreg
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from threading import Thread
from typing import Any

import numpy as np
import numpy.typing as npt
import ray
from flwr.app import Context, Error, Message

from client.simulation.parcels import Reference, packed, unpacked

Answers = tuple[bytes, list[npt.NDArray[np.uint8]], list[Context]]
"""A parcel of replies (`client.simulation.parcels`), their large arrays, which Ray does not copy, and the
contexts."""

CLIENT_APP_RAISED = 2  # Flower's ErrorCode for a ClientApp that raises
TOGETHER_SECONDS = 0.1


def _as_bytes(array: memoryview) -> tuple[type[bytes], tuple[bytes]]:
    return bytes, (bytes(array),)


copyreg.pickle(memoryview, _as_bytes)  # type: ignore[arg-type]  # a node may keep an array of its message


def in_parcel(answered: Sequence[tuple[Message, Context]]) -> Answers:
    """Replies and their nodes' contexts as they leave a worker."""
    parcel, arrays = packed([reply for reply, _ in answered], lambda array: np.frombuffer(array, np.uint8))
    return parcel, arrays, [context for _, context in answered]


def of_parcel(answers: Answers) -> list[tuple[Message, Context]]:
    """The inverse of `in_parcel`: the large arrays of a reply are read where Ray has them."""
    parcel, arrays, contexts = answers
    return list(zip(unpacked(parcel, [one.data for one in arrays]), contexts, strict=True))


@ray.remote
class WorkerActor:
    """Has the ClientApp answer messages, one at a time, for any node."""

    def __init__(self) -> None:
        self._kept: dict[Reference, Any] = {}
        # What the first message needs takes seconds to import, while the server has its own to prepare.
        Thread(target=import_module, args=("client.answers",), daemon=True).start()

    def answer(
        self, app: list[Reference], parcel: bytes, arrays: list[Reference], contexts: list[Context]
    ) -> Iterator[Answers]:
        """Answer the messages of a parcel (`client.simulation.parcels`), each with its context, in order.

        Answers that take less than `TOGETHER_SECONDS` leave together: each object of Ray's costs its owner
        milliseconds. What lies at the references stays here until a call brings others.
        """
        self._kept = {one: self._kept[one] if one in self._kept else ray.get(one) for one in (*app, *arrays)}
        client_app = self._kept[app[0]]
        messages = unpacked(parcel, [memoryview(self._kept[one]) for one in arrays])
        answered: list[tuple[Message, Context]] = []
        since = time.monotonic()
        for message, context in zip(messages, contexts, strict=True):
            try:
                reply = client_app(message=message, context=context)
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
                reply = Message(Error(code=CLIENT_APP_RAISED, reason=reason), reply_to=message)
            answered.append((reply, context))
            if time.monotonic() - since >= TOGETHER_SECONDS:
                yield in_parcel(answered)
                answered, since = [], time.monotonic()
        if answered:
            yield in_parcel(answered)

    def terminate(self) -> None:
        """End this worker's process."""
        ray.actor.exit_actor()
