"""A schedule: the inverse square root of the round."""

from __future__ import annotations

from optim.schedules import ScheduleSettings


def inverse_root(done: int, rounds: int, settings: ScheduleSettings) -> float:
    """1 / sqrt(1 + the rounds that are done), whatever the settings."""
    return float((1 + done) ** -0.5)
