"""The running sum of a round: each reply is checked, added and released before the next.

Memory is one integer buffer of the model's size and one packed reply, for any cohort. Sums of integers are
exact, so the result does not depend on the order of arrival, to the bit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from privacy import ClipBounds, Quantiser, ReplyRejected, accumulator_dtype, add_packed_
from wire.messages import Answer, Task


@dataclass(frozen=True)
class DroppedNode:
    """A node that gave nothing to a round, and the reason.

    `refused` is True for a reply that did not pass the server's checks, and False for a node that failed or
    sent no reply.
    """

    node: int
    reason: str
    refused: bool = False


class CohortSum:
    """The sum over the cohort of one round.

    Guarantee: after `add` returns, the sum holds one more reply, each slice of which is within count x bound;
    after it raises `ReplyRejected`, the sum is unchanged.
    """

    def __init__(self, tasks: Mapping[int, Task], *, bounds: ClipBounds, quantiser: Quantiser) -> None:
        self._open = dict(tasks)
        self._bounds = bounds
        self._quantiser = quantiser
        drawn = sum(len(task.speakers) for task in tasks.values())
        self.integers: Tensor = torch.zeros(bounds.size, dtype=accumulator_dtype(max(drawn, 1), quantiser))
        self.speakers = 0
        self.nodes = 0

    def add(self, node: int, answer: Answer) -> None:
        """Check `answer` against the task of `node`, and add it.

        Raises:
            ReplyRejected: For a node without a task (or with an answer already), another round, another
                cohort's nonce, another layout, a wrong count, bytes that are not a packed sum, or a slice
                beyond its bound.
        """
        self.add_together((node,), answer)

    def add_together(self, nodes: Collection[int], answer: Answer) -> None:
        """As `add`, for one sum over the speakers of several nodes.

        Raises:
            ReplyRejected: As `add`.
        """
        asked = [self._open[node] for node in nodes if node in self._open]
        if not asked or len(asked) < len(nodes):
            raise ReplyRejected("the node was not asked in this round, or has answered already")
        self._check_labels(asked, answer)
        add_packed_(self.integers, answer.packed, answer.count, self._bounds, self._quantiser)
        self.speakers += answer.count
        self.nodes += len(asked)
        for node in nodes:
            del self._open[node]

    def silent_nodes(self) -> list[int]:
        """Nodes that were asked and gave no usable reply, ascending."""
        return sorted(self._open)

    def _check_labels(self, tasks: list[Task], answer: Answer) -> None:
        task, count = tasks[0], sum(len(one.speakers) for one in tasks)
        for what, asked, got in (
            ("round", task.round_number, answer.round_number),
            ("nonce", task.nonce, answer.nonce),
            ("layout", task.layout, answer.layout),
            ("count", count, answer.count),
        ):
            if asked != got:
                raise ReplyRejected(f"{what} is {got!r}, asked was {asked!r}")
