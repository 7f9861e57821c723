"""The part of Flower's `Strategy` that a private run leaves empty."""

from __future__ import annotations

from collections.abc import Iterable

from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy


class TrainingOnly(Strategy):  # type: ignore[misc]  # flwr is untyped for us
    """A strategy without evaluation on nodes, whose results would leave them un-noised.

    The server evaluates on held-out speakers.
    """

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """No messages."""
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> None:
        """Consume the (empty) stream of replies."""
        for _ in replies:
            continue

    def summary(self) -> None:
        """Do nothing. Flower would log the settings here; a run's own table shows them."""
