"""The rounds of a run, from any round on.

Flower's own `Strategy.start` always counts from 1. A resumed run would number its rounds, and schedule its
learning rates, as if nothing had been trained yet.
"""

from __future__ import annotations

from collections.abc import Callable

from flwr.app import ConfigRecord
from flwr.serverapp import Grid

from strategies.dp_fed_opt import DPFedOpt
from wire.deadlines import wait_seconds


def run_rounds(
    strategy: DPFedOpt,
    grid: Grid,
    *,
    first: int,
    last: int,
    deadline_seconds: float,
    after_round: Callable[[int], None],
) -> None:
    """Train rounds `first` to `last`, both included, and call `after_round` with the number of each.

    Raises:
        BudgetExhausted: Before the round that would exceed the plan's budget; earlier rounds are complete.
    """
    config = ConfigRecord()
    for number in range(first, last + 1):
        # The messages get no name, so the model in them is released when the last one has been sent.
        replies = grid.send_and_receive(
            strategy.configure_train(number, strategy.arrays(), config, grid),
            timeout=wait_seconds(deadline_seconds),
        )
        strategy.finish_round(number, replies)
        after_round(number)
