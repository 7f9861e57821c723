"""What a node reports at registration, and the speakers that the server's numbers then stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flwr.app import Context

from client.node import Node
from client.state import departure_counts, registered_speakers
from wire.messages import Task
from wire.node_info import NodeInfo


def register(node: Node, context: Context, asked: Mapping[str, object]) -> NodeInfo:
    """Count the speakers of `node`, and keep what their numbers stand for.

    Args:
        node: The node.
        context: Its context.
        asked: The server's question.

    Raises:
        ConfigError: If the node cannot take part: it has another frozen model than the server, for example.
    """
    node.rules.require_frozen(str(asked.get("frozen", "")))
    node.require_time()
    run = str(asked.get("run", ""))
    left = _left_at_start(context, node, run) if asked.get("resumed") else node.held.left
    counted = node.held.without_first(left)
    node_info = node.held.info(counted)
    if node.held.anybody_left or not node.simulated:
        registered_speakers.keep(context.state, node.held.part, counted)
        if run:  # first, so that a resumed run is the newest, and other parts' counts stay
            departure_counts.note(context.node_config, run, node.held.part, left)
        departure_counts.note(context.node_config, context.run_id, context.node_id, left)
    return node_info


def _left_at_start(context: Context, node: Node, run: str) -> int:
    """How many speakers had left when the resumed run began; if that is not known, all who have left now."""
    noted = departure_counts.noted(context.node_config, run, node.held.part)
    if noted is None:  # a simulation notes only that somebody had left
        return 0 if node.simulated else node.held.left
    return min(noted, node.held.left)


def called(node: Node, context: Context, task: Task) -> Sequence[str]:
    """The speakers by the server's numbers; the task has what this node reported at registration."""
    registered = f"{task.dataset or node.dataset} {task.portion or node.held.portion}"
    some_left = node.held.anybody_left
    may_have_left = some_left or not node.simulated  # a simulation notes only that somebody had left
    if (
        may_have_left
        and registered == node.held.part
        and not registered_speakers.knows(context.state, registered)
    ):
        left = departure_counts.noted(context.node_config, context.run_id, context.node_id)
        if left is not None and left > node.held.left and not node.simulated:  # a line of the record is gone
            some_left = True
        elif some_left and (left is not None or node.simulated):  # without a note nobody of a part had left
            return node.held.departures.without(node.held.everybody, first=left or 0)
    return registered_speakers.called(
        context.state, registered, node.held.part, node.speakers, some_left=some_left
    )
