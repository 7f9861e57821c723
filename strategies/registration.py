"""The population of a run, from the answers of the connected nodes, for apps of any kind.

(`server/registration.py` is the registration of a speech run, which also refuses held-out speakers and
speakers on two nodes.)
"""

from __future__ import annotations

import time

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from base.printable_text import one_line
from strategies.population import PopulationIndex
from wire.messages import VERSION, other_version
from wire.node_info import NodeInfo
from wire.records import read_record

POLL_SECONDS = 0.2


class NotRegistered(RuntimeError):
    """A node is missing or gave no valid answer, so the population is not known."""


def register_population(grid: Grid, *, nodes: int, wait_seconds: float = 60.0) -> PopulationIndex:
    """Wait until `nodes` nodes are connected and ask each for its number of participants.

    Raises:
        NotRegistered: If too few nodes connect in time, or any connected node gives no valid answer. A
            private run must know its population before it starts.
    """
    deadline = time.monotonic() + wait_seconds
    while len(connected := sorted(grid.get_node_ids())) < nodes:
        if time.monotonic() > deadline:
            raise NotRegistered(f"{len(connected)} of {nodes} nodes connected in {wait_seconds:g} s")
        time.sleep(POLL_SECONDS)
    question = RecordDict({"query": ConfigRecord({"version": VERSION})})
    messages = [Message(question, node, MessageType.QUERY, ttl=wait_seconds) for node in connected]
    found: dict[int, NodeInfo] = {}
    for reply in grid.send_and_receive(messages, timeout=wait_seconds):
        found[reply.metadata.src_node_id] = _node_info(reply)
    if silent := sorted(set(connected) - set(found)):
        raise NotRegistered(f"node {silent[0]} gave no answer in {wait_seconds:g} s")
    return PopulationIndex.of(
        {node: info.speakers for node, info in found.items()},
        {node: info.dataset for node, info in found.items()},
    )


def _node_info(reply: Message) -> NodeInfo:
    node = reply.metadata.src_node_id
    if reply.has_error():
        raise NotRegistered(f"node {node}: {one_line(reply.error.reason)}")
    try:
        answer = read_record(reply.content, "answer", ConfigRecord)
        if "problem" in answer:
            raise ValueError(str(answer["problem"]))
        if answer.get("version") != VERSION:
            raise ValueError(other_version("it", answer.get("version"), "this server"))
        return NodeInfo.of(answer)
    except (KeyError, ValueError) as error:
        raise NotRegistered(f"node {node}: {one_line(str(error))}") from None
