"""The names of Flower's server side that no release promises to keep; only this module of the room uses any.

Flower 1.39 is the last release whose clients speak gRPC; later ones move and rename what is here. On the
server's side a port to another release changes this module and `wire/inflation/flower_objects.py` only.
`tests/test_flower_names.py` lists every such name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from flwr.app import Error, Message, Metadata, RecordDict
from flwr.app.message import make_message
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, PullObjectRequest
from flwr.proto.runtime_pb2 import PullAppMessagesRequest
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import HttpGrid, InMemoryGrid

from wire.inflation import ResponseLimits

__all__ = [
    "MESSAGE_UNAVAILABLE",
    "NODE_UNAVAILABLE",
    "Announcement",
    "InMemoryGrid",
    "ObjectPushError",
    "RuntimeApi",
    "act_as_task",
    "delete_messages",
    "error_reply",
    "is_simulation",
    "is_superlink",
    "on_reply",
    "set_message_id",
]

MESSAGE_UNAVAILABLE, NODE_UNAVAILABLE = 3, 5  # of Flower's ErrorCode


def is_superlink(grid: Grid) -> bool:
    """Whether the replies of `grid` come from a SuperLink, as bytes from other processes."""
    return isinstance(grid, HttpGrid)


def is_simulation(grid: Grid) -> bool:
    """Whether the messages of `grid` lie in this process, as in Flower's simulation engine."""
    return isinstance(grid, InMemoryGrid)


def on_reply(grid: InMemoryGrid, told: Callable[[str], None]) -> bool:
    """Call `told` with the id of each message whose reply is stored from now on, on the storing thread.

    A reply to a message that is not there any more (`delete_messages`) is dropped.

    Returns:
        Whether that is possible: not with a grid that has no store of Flower's.
    """
    state = getattr(grid, "state", None)
    if state is None:
        return False
    store = state.store_message_res

    def store_and_tell(message: Message) -> str | None:
        if message.metadata.reply_to_message_id not in state.message_ins_store:
            return None  # Flower would log it as an error
        reply_id: str | None = store(message)
        if reply_id is not None:
            told(message.metadata.reply_to_message_id)
        return reply_id

    state.store_message_res = store_and_tell
    return True


def delete_messages(grid: InMemoryGrid, message_ids: Iterable[str]) -> None:
    """Delete these messages of a simulation, and what came in reply to them."""
    grid.state.delete_messages({*message_ids})


def error_reply(asked: Metadata, reason: str, code: int) -> Message:
    """An error in the place of the reply to the message that had the metadata `asked`.

    The message itself is not needed: it may be gone, and the model in it.
    """
    question = make_message(metadata=asked, content=RecordDict())
    return Message(Error(code=code, reason=reason), reply_to=question)


def set_message_id(message: Message, message_id: str) -> None:
    """Give `message` its id, which Flower sets only when it pushes or pulls a message."""
    message.metadata.__dict__["_message_id"] = message_id


def act_as_task() -> None:
    """Let this process make messages: Flower lets only a process do so that knows whose task it runs."""
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1


@dataclass(frozen=True)
class Announcement:
    """A reply that the SuperLink has announced: ids, its error code (0: none) and the tree of its objects."""

    answers: str
    reply_id: str
    error_code: int
    tree: Any


class RuntimeApi:
    """The calls of the SuperLink's Runtime API behind an `HttpGrid`.

    `limits` checks the length of every answer from the first call on.
    """

    def __init__(self, grid: HttpGrid, limits: ResponseLimits) -> None:
        self._grid, self._limits = grid, limits
        self._limited: Any = None

    def announced(self, message_ids: Sequence[str]) -> Iterator[Announcement]:
        """The replies to these messages that have reached the SuperLink; it announces each of them once."""
        answer = self._connected().PullMessages(PullAppMessagesRequest(message_ids=list(message_ids)))
        for message, tree in zip(answer.messages_list, answer.message_object_trees, strict=True):
            metadata = message.metadata
            yield Announcement(metadata.reply_to_message_id, metadata.message_id, message.error.code, tree)

    def pull(self, object_id: str) -> bytes | None:
        """One object; None if the SuperLink has not received it yet.

        Raises:
            LookupError: If the SuperLink does not know the object.
        """
        request = PullObjectRequest(node=self._grid.node, run_id=self._grid.run.run_id, object_id=object_id)
        answer = self._connected().PullObject(request)
        if not answer.object_found:
            raise LookupError(object_id)
        content: bytes = answer.object_content
        return content if answer.object_available else None

    def delete(self, message_ids: Iterable[str]) -> None:
        """Delete the objects of these messages, except those that other messages have too."""
        for message_id in message_ids:
            self._connected().ConfirmMessageReceived(
                ConfirmMessageReceivedRequest(
                    node=self._grid.node, run_id=self._grid.run.run_id, message_object_id=message_id
                )
            )

    def _connected(self) -> Any:
        client = self._grid._runtime_client
        if client is not self._limited:  # the grid makes a new one when it connects again
            self._limits.install(client._client)
            self._limited = client
        return client
