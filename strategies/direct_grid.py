"""A Flower grid whose nodes are functions in this process: a message is answered while it is pushed.

It is for experiments of many short runs on one machine (docs/decisions/0015-small-runs-in-one-process.md).
`murmur run` simulates on Flower's engine and Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from uuid import uuid4

from flwr.app import Message, RecordDict

from strategies.flower_seam import InMemoryGrid, act_as_task, set_message_id

Node = Callable[[Message], Message]


class DirectGrid(InMemoryGrid):  # type: ignore[misc]  # flwr is untyped for us
    """A grid of nodes by their ids; to the server it is a simulation's.

    Example:
        >>> from flwr.app import MessageType
        >>> grid = DirectGrid({7: lambda message: Message(RecordDict(), reply_to=message)})
        >>> sent = grid.push_messages([grid.create_message(RecordDict(), MessageType.TRAIN, 7, "1", 60.0)])
        >>> [reply.metadata.src_node_id for reply in grid.pull_messages(sent)], list(grid.pull_messages(sent))
        ([7], [])
    """

    def __init__(self, nodes: Mapping[int, Node]) -> None:
        # Not that of the base, which connects to a SuperLink's state: here is none.
        act_as_task()
        self._nodes = dict(nodes)
        self._replies: dict[str, Message] = {}
        self._given: object = None

    def set_run(self, run: object) -> None:
        """See `flwr.serverapp.Grid`."""
        self._given = run

    @property
    def run(self) -> object:
        """See `flwr.serverapp.Grid`."""
        return self._given

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """See `flwr.serverapp.Grid`."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """See `flwr.serverapp.Grid`."""
        return list(self._nodes)

    def get_nodes(self) -> Iterable[object]:
        """See `flwr.serverapp.Grid`."""
        return []

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Let each message's node answer it; return the messages' ids."""
        pushed = []
        for message in messages:
            set_message_id(message, uuid4().hex)
            pushed.append(message.metadata.message_id)
            self._replies[pushed[-1]] = self._nodes[message.metadata.dst_node_id](message)
        return pushed

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Hand over the replies to these messages, once."""
        return [self._replies.pop(one) for one in message_ids if one in self._replies]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """See `flwr.serverapp.Grid`."""
        return self.pull_messages(self.push_messages(messages))
