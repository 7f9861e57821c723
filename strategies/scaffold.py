"""SCAFFOLD (Karimireddy et al. 2020, option II), for runs without privacy only.

Control variates correct the drift of local steps: a speaker adds c - c_i to its gradients. c_i is the
speaker's mean gradient in its last round, and c the mean of all c_i. Control variates are a second vector
from every node, un-noised and outside the clip, and a state for each speaker; so a private plan is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp import Grid
from torch import Tensor

from strategies.dp_fed_opt import DPFedOpt
from strategies.mechanism import Mechanism
from strategies.parts import GlobalModel
from wire.messages import CONTROL, pack_vector, unpack_vector
from wire.records import find_record
from wire.traffic import array_bytes


class Scaffold(DPFedOpt):
    """`DPFedOpt` without noise, with control variates. They begin at 0, also when a run is resumed.

    Raises:
        ValueError: For a private plan.

    Example:
        >>> issubclass(Scaffold, DPFedOpt)
        True
    """

    def __init__(self, *, model: GlobalModel, mechanism: Mechanism, **parts: Any) -> None:
        if mechanism.plan.is_private:
            raise ValueError(
                f"SCAFFOLD with noise multiplier {mechanism.plan.noise_multiplier:g}: control variates leave "
                "the nodes un-noised, so no private plan covers them; use DPFedOpt, or a plan without noise"
            )
        super().__init__(model=model, mechanism=mechanism, **parts)
        self.control = torch.zeros(model.layout.size)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """As in `DPFedOpt`; each message carries c beside the model."""
        messages = super().configure_train(server_round, arrays, config, grid)
        control = pack_vector(self.control)
        for message in messages:
            message.content[CONTROL] = control
        if self._round and messages:
            self._round.bytes_down = array_bytes(messages[0].content)
        return messages

    def finish_round(self, server_round: int, replies: Iterable[Message]) -> dict[str, float]:
        """As in `DPFedOpt`; then c moves by the sum of the c_i's changes over the population's size.

        If a reply was refused, its c_i have still changed on the node.
        """
        changes = torch.zeros_like(self.control)
        if self._round:
            self._round.on_taken = lambda reply: _gather_(changes, reply)
        statistics = super().finish_round(server_round, replies)
        self.control.add_(changes, alpha=1 / self.plan.population)
        return statistics


def _gather_(changes: Tensor, reply: Message) -> None:
    """Add the changes of the control variates in a reply to `changes`."""
    if (record := find_record(reply.content, CONTROL, ArrayRecord)) is not None:
        change = unpack_vector(record)
        if change.shape == changes.shape and bool(change.isfinite().all()):
            changes += change
