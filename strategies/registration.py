"""The population of a run, from the answers of the connected nodes, for apps of any kind.

(`server/registration.py` is the registration of a speech run, which also refuses held-out speakers and
speakers on two nodes.)
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from base.printable_text import one_line
from strategies.population import PopulationIndex
from wire.inflation import REFUSED
from wire.messages import VERSION, other_version
from wire.node_info import NodeInfo
from wire.records import find_record

POLL_SECONDS = 0.2


class NotRegistered(RuntimeError):
    """A node is missing or gave no valid answer, so the population is not known."""


def register_population(grid: Grid, *, nodes: int, wait_seconds: float = 60.0) -> PopulationIndex:
    """Wait until `nodes` nodes are connected and ask each for its number of participants.

    Raises:
        NotRegistered: If too few nodes connect in time, or any connected node gives no valid answer. A
            private run must know its population before it starts.
    """
    connected = connected_nodes(grid, nodes, wait_seconds)
    if len(connected) < nodes:
        raise NotRegistered(f"{len(connected)} of {nodes} nodes connected in {wait_seconds:g} s")
    question = RecordDict({"query": ConfigRecord({"version": VERSION})})
    answers, problems = ask_nodes(grid, connected, question, MessageType.QUERY, wait_seconds)
    infos = node_infos(answers, problems)
    if problems:
        node, reason = next(iter(problems.items()))
        raise NotRegistered(f"node {node}: {one_line(reason)}")
    if silent := sorted(set(connected) - set(infos)):
        raise NotRegistered(f"node {silent[0]} gave no answer in {wait_seconds:g} s")
    return PopulationIndex.of(
        {node: info.speakers for node, info in infos.items()},
        {node: info.dataset for node, info in infos.items()},
    )


def connected_nodes(grid: Grid, least: int, wait_seconds: float) -> list[int]:
    """The connected nodes, sorted: as soon as there are `least` of them, or else after `wait_seconds`."""
    deadline = time.monotonic() + wait_seconds
    while len(nodes := sorted(grid.get_node_ids())) < least and time.monotonic() <= deadline:
        time.sleep(POLL_SECONDS)
    return nodes


def ask_nodes(
    grid: Grid, nodes: Iterable[int], content: RecordDict, action: str, wait_seconds: float
) -> tuple[dict[int, ConfigRecord], dict[int, str]]:
    """Send `content` to the nodes; return the valid answers, and the problems of other nodes, by node.

    A node that does not answer in `wait_seconds` is in neither.
    """
    messages = [Message(content, node, action, ttl=wait_seconds) for node in nodes]
    replies = list(grid.send_and_receive(messages, timeout=wait_seconds))
    asked = {m.metadata.message_id: m.metadata.dst_node_id for m in messages}
    answers: dict[int, ConfigRecord] = {}
    problems: dict[int, str] = {}
    for reply in replies:
        node = asked[reply.metadata.reply_to_message_id]
        if reply.has_error():
            kind = "" if reply.error.code == REFUSED else f"Flower error {reply.error.code}: "
            problems[node] = f"{kind}{reply.error.reason}"
            continue
        answer = find_record(reply.content, "answer", ConfigRecord) or ConfigRecord()
        try:
            if answer.get("version") != VERSION:
                problems[node] = other_version("it", answer.get("version"), "this server")
            elif "problem" in answer:
                problems[node] = str(answer["problem"])
            else:
                answers[node] = answer
        except ValueError as error:  # also an integer with more digits than Python converts to text
            problems[node] = str(error)
    return answers, problems


def node_infos(answers: Mapping[int, ConfigRecord], problems: dict[int, str]) -> dict[int, NodeInfo]:
    """What the valid answers tell of their nodes; an answer that is not valid is added to `problems`."""
    infos: dict[int, NodeInfo] = {}
    for node, answer in answers.items():
        try:
            infos[node] = NodeInfo.of(answer)
        except ValueError as error:
            problems[node] = str(error)
    return infos
