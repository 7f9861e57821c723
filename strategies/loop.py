"""The rounds of a run, from any round on.

Flower's own `Strategy.start` does the same but always counts from 1, so a resumed run would name its rounds,
and take its learning rates, as if nothing had been trained yet.
"""

from __future__ import annotations

from collections.abc import Callable

from flwr.app import ConfigRecord
from flwr.serverapp import Grid

from strategies.dp_fed_opt import DPFedOpt


def run_rounds(
    strategy: DPFedOpt,
    grid: Grid,
    *,
    first: int,
    last: int,
    timeout_seconds: float,
    after_round: Callable[[int], None],
) -> None:
    """Train rounds `first` to `last`, both included, and call `after_round` with each one's number.

    Raises:
        BudgetExhausted: Before the round that would pass the plan's budget; everything before it is complete.
    """
    config = ConfigRecord()
    for number in range(first, last + 1):
        # No name for the messages: the model in them may go as soon as the last one is under way.
        replies = grid.send_and_receive(
            strategy.configure_train(number, strategy.arrays(), config, grid), timeout=timeout_seconds
        )
        strategy.finish_round(number, replies)
        after_round(number)
