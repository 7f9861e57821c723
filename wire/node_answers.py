"""The two answers of a node, for any model: how many participants it holds, and the sum of their updates.

This is the node's part of the guarantee without anything about speech: a node of another program calls these
functions in its ClientApp. (`client/` has the node for speech, with its own checks of limits and departures.)
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from flwr.app import Message
from torch import Tensor

from privacy import LayerLayout, accumulator_dtype, add_clipped_, add_indicators_, unclipped_slices
from privacy.group_statistics import RunStatistics
from privacy.released_metrics import add_statistics_
from wire.messages import Answer, Task, problem
from wire.node_info import NodeInfo

log = logging.getLogger("murmuration.wire")

LocalTraining = Callable[[int, Tensor], tuple[Tensor, float]]
"""From a participant's number (from 0) and the global model (d,), which it only reads, to the participant's
update "old minus new" (d,) and mean training loss."""


class NodeSum:
    """The sum over the drawn participants of one node, in quantisation steps.

    Guarantee: each participant adds at most the clip bound of each slice, for any update, to the bit. An
    update with a number that is not finite adds only its bounded statistics. Nothing of one participant is
    kept beside the sum.

    Args:
        task: The round's task.
        layout: The node's own model.

    Raises:
        ValueError: If the task's bounds are of another model, or have room for other statistics than a run of
            this model has.

    Example:
        >>> from privacy import ClipBounds, Quantiser
        >>> layout = LayerLayout.of({"weight": (4,)})
        >>> bounds = ClipBounds.of("dim", 1.0, layout, statistics=2)
        >>> task = Task(
        ...     round_number=1, nonce="", layout=layout.digest, speakers=(0,), bounds=bounds,
        ...     quantiser=Quantiser.of(bounds),
        ... )
        >>> total = NodeSum(task, layout)
        >>> total.add(torch.full((4,), 100.0), loss=0.5)
        1.0
    """

    def __init__(self, task: Task, layout: LayerLayout) -> None:
        self._task = task
        self._statistics = RunStatistics.in_bounds(layout, task.bounds)
        speakers = max(1, len(task.speakers))
        self.integers = torch.zeros(task.bounds.size, dtype=accumulator_dtype(speakers, task.quantiser))

    def add(self, update: Tensor, loss: float) -> float:
        """Clip, round and add one participant's update; return the share of its clipped slices.

        Args:
            update: (d,), or (bounds.size,) with room for the statistics, which saves a copy. The room is set
                to zero: nothing that a participant's training wrote there adds to the statistics.
            loss: The participant's training loss.
        """
        bounds, quantiser, statistics = self._task.bounds, self._task.quantiser, self._statistics
        size = bounds.model_size
        if len(update) == size:
            update = torch.cat([update, update.new_zeros(bounds.size - size)])
        else:
            update[size:] = 0
        clipped = add_clipped_(self.integers, update, bounds, quantiser)
        unclipped = unclipped_slices(update, bounds) if bounds.indicators or statistics.groups else None
        values = statistics.values(update[:size], unclipped, clipped_share=clipped, loss=loss, bounds=bounds)
        add_statistics_(self.integers, values, bounds, quantiser, statistics.statistics)
        if bounds.indicators:
            add_indicators_(self.integers, unclipped, bounds, quantiser)
        return clipped


def answer_query(message: Message, node_info: NodeInfo) -> Message:
    """The reply to the server's question at registration."""
    return Message(node_info.to_record(), reply_to=message)


def answer_task(message: Message, layout: LayerLayout, train: LocalTraining) -> Message:
    """Train each drawn participant from the message's model, and reply with the sum of the clipped updates.

    An exception becomes a reply with its class name alone: its text could quote the participants' data.
    """
    try:
        return Message(_sum(message, layout, train).to_record(), reply_to=message)
    except Exception as error:  # the wall between the data and the server: nothing may pass it
        log.exception("a task could not be answered")
        content = problem(f"{type(error).__name__} (details are in the node's own log)")
        return Message(content, reply_to=message)


def _sum(message: Message, layout: LayerLayout, train: LocalTraining) -> Answer:
    task, vector = Task.from_message(message)
    if task.layout != layout.digest:
        raise ValueError("the server trains a model with other names or shapes")
    if len(set(task.speakers)) < len(task.speakers):
        raise ValueError("a participant is drawn more than once")
    total = NodeSum(task, layout)
    for number in task.speakers:
        total.add(*train(number, vector))
    return Answer.of(task, total.integers)
