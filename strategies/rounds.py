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

    Raises
    ------
    BudgetExhausted
        Before the round that would pass the plan's budget; everything before it is complete.
    """
    arrays, config = strategy.arrays(), ConfigRecord()
    for number in range(first, last + 1):
        messages = strategy.configure_train(number, arrays, config, grid)
        replies = grid.send_and_receive(messages, timeout=timeout_seconds)
        arrays, _ = strategy.aggregate_train(number, replies)
        after_round(number)
