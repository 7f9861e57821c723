"""How the messages of a simulation reach its workers, in time that does not grow with the nodes.

Flower's simulation engine asks for each of its nodes in turn, several times a second, whether there is a
message for it, and looks through all messages under way for that: at 1,000 nodes this took half a processor
for as long as a round lasted, at 5,000 all that the server's process had. Here only nodes with a message are
asked for. `client.app` puts `hand_over` in the place of Flower's function wherever Flower simulates.
"""

from __future__ import annotations

import threading
from collections.abc import Container
from queue import Queue

from flwr.app import Message
from flwr.server.superlink.fleet.vce import vce_api
from flwr.server.superlink.linkstate.in_memory_linkstate import InMemoryLinkState

PAUSE_SECONDS = 0.1  # between two looks, as in Flower


def hand_over(
    state: InMemoryLinkState, queue: Queue[Message], nodes: Container[int], stop: threading.Event
) -> None:
    """Put each message into `queue` once, in the order in which they were sent, until `stop` is set."""
    while not stop.is_set():
        for node in waiting_nodes(state):
            if node in nodes:
                for message in state.get_message_ins(node_id=node, limit=1):
                    queue.put(message)
        stop.wait(PAUSE_SECONDS)


def waiting_nodes(state: InMemoryLinkState) -> list[int]:
    """The nodes with a message that has not been handed over, each once, the longest waiting first."""
    with state.lock:
        metadata = [message.metadata for message in state.message_ins_store.values()]
        return list(dict.fromkeys(one.dst_node_id for one in metadata if not one.delivered_at))


def use_quick_messages() -> None:
    """Let Flower's simulation engine hand messages over so; to be called before it starts."""
    vce_api.add_messages_to_queue = hand_over
