"""Learning-rate schedules of the server: a factor on the base rate, from the round alone."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int, int], float]


def constant(round_number: int, rounds: int) -> float:
    """Factor 1 throughout."""
    return 1.0


def half_cosine(round_number: int, rounds: int) -> float:
    """Factor 1 for the first half of the rounds, then down to 0.05 along a cosine."""
    done = (round_number - 1) / max(1, rounds)
    if done <= 0.5:
        return 1.0
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (2 * done - 1)))


SCHEDULES: dict[str, Schedule] = {"constant": constant, "half-cosine": half_cosine}
