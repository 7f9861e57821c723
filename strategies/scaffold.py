"""SCAFFOLD (Karimireddy et al. 2020, option II), for runs without privacy only.

Control variates correct the drift of local steps: a speaker adds c - c_i to its gradients, where c_i is
its own mean gradient of the last time and c the mean of all c_i. They are a second vector from every
client, un-noised and outside the clip, and a state per speaker; so a private plan is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp import Grid
from torch import Tensor

from privacy import LayerLayout, PrivacyPlan
from strategies.dp_fed_opt import DPFedOpt
from wire.messages import CONTROL, pack_vector, unpack_vector
from wire.records import find_record
from wire.traffic import array_bytes


class Scaffold(DPFedOpt):
    """`DPFedOpt` without noise, with control variates. They begin at 0, also where a run is resumed.

    Raises:
        ValueError: For a private plan.
    """

    def __init__(self, *, plan: PrivacyPlan, layout: LayerLayout, **settings: Any) -> None:
        if plan.is_private:
            raise ValueError(
                f"SCAFFOLD with noise multiplier {plan.noise_multiplier:g}: control variates leave clients "
                "un-noised, so no private plan can cover them; use DPFedOpt, or a plan without noise"
            )
        super().__init__(plan=plan, layout=layout, **settings)
        self.control = torch.zeros(layout.size)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """As in `DPFedOpt`, with c beside the model."""
        messages = super().configure_train(server_round, arrays, config, grid)
        control = pack_vector(self.control)
        for message in messages:
            message.content[CONTROL] = control
        if self._round and messages:
            self._round.bytes_down = array_bytes(messages[0].content)
        return messages

    def finish_round(self, server_round: int, replies: Iterable[Message]) -> dict[str, float]:
        """As in `DPFedOpt`; then c moves by the changes of the c_i over the whole population.

        (A c_i has moved on its node even if the reply that says so was refused.)
        """
        changes = torch.zeros_like(self.control)
        if self._round:
            self._round.on_taken = lambda reply: _gather_(changes, reply)
        statistics = super().finish_round(server_round, replies)
        self.control.add_(changes, alpha=1 / self.plan.population)
        return statistics


def _gather_(changes: Tensor, reply: Message) -> None:
    """Add to `changes` what a reply says of its speakers' control variates."""
    if (record := find_record(reply.content, CONTROL, ArrayRecord)) is not None:
        change = unpack_vector(record)
        if change.shape == changes.shape and bool(change.isfinite().all()):
            changes += change
