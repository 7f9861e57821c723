"""A stand-in for Flower's grid: nodes are functions from a message to the content of its reply."""

from collections.abc import Callable
from uuid import uuid4

from flwr.app import ConfigRecord, Error, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from strategies.flower_seam import act_as_task, set_message_id
from wire.messages import VERSION
from wire.names import DECLARE

# Flower makes messages only in a process that knows whose task it runs.
act_as_task()

AGREE = f"{MessageType.QUERY}.{DECLARE}"

Node = Callable[[Message], RecordDict | Error | None]


def answer_of(nodes: dict[int, Node], message: Message) -> RecordDict | Error | None:
    """What its node says to a message; to the plan, all say yes."""
    if message.metadata.message_type == AGREE:
        return RecordDict({"answer": ConfigRecord({"version": VERSION})})
    return nodes[message.metadata.dst_node_id](message)


class FakeGrid(Grid):
    """Answers every message at once; None is silence. Replies come in reverse order."""

    def __init__(self, nodes: dict[int, Node]) -> None:
        self.nodes = nodes
        self.waiting: dict[str, Message] = {}
        self.most_waiting = 0
        self.pushed: list[Message] = []

    def push_messages(self, messages):
        ids = []
        for message in messages:
            set_message_id(message, uuid4().hex)
            message_id = message.metadata.message_id
            content = answer_of(self.nodes, message)
            if content is not None:
                self.waiting[message_id] = Message(content, reply_to=message)
            self.pushed.append(message)
            ids.append(message_id)
        self.most_waiting = max(self.most_waiting, len(self.waiting))
        return ids

    def pull_messages(self, message_ids):
        return [self.waiting.pop(i) for i in reversed(list(message_ids)) if i in self.waiting]

    def get_node_ids(self):
        return list(self.nodes)

    def get_nodes(self):
        return []

    def set_run(self, run):
        self._run = run

    @property
    def run(self):
        return self._run

    def create_message(self, content, message_type, dst_node_id, group_id, ttl=None):
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def send_and_receive(self, messages, *, timeout=None):
        return self.pull_messages(self.push_messages(messages))
