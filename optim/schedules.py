"""Learning-rate schedules of the server: a factor on the base rate that depends only on the round.

Guarantee: a schedule is a pure function of the round, so a resumed run continues it without any state.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from base.registries import SCHEDULES
from privacy.validate import positive, probability, whole

Schedule = Callable[[int, int], float]
"""A function from the round (1, 2, ...) and the number of rounds to a factor."""


@dataclass(frozen=True, kw_only=True)
class ScheduleSettings:
    """The settings of schedules. Each schedule reads only some of them.

    Args:
        warm_up_rounds: w; every schedule is multiplied by round / w before round w.
        decay_after: a, the number of rounds before 'exponential' and 'step' start to decay.
        decay_every: b, the number of rounds in which they shrink by `decay_factor`.
        decay_factor: x, in (0, 1].
        final_factor: the last factor of 'cosine' and 'half-cosine', in [0, 1].

    Raises:
        ValueError: for a value out of range.

    Example:
        >>> schedule = make_schedule("step", ScheduleSettings(decay_after=2, decay_every=2, decay_factor=0.5))
        >>> [schedule(round_number, 6) for round_number in range(1, 7)]
        [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    """

    warm_up_rounds: int = 0
    decay_after: int = 0
    decay_every: int = 1
    decay_factor: float = 1.0
    final_factor: float = 0.05

    def __post_init__(self) -> None:
        whole(warm_up_rounds=self.warm_up_rounds)
        whole(decay_after=self.decay_after)
        whole(1, decay_every=self.decay_every)
        positive(decay_factor=probability(decay_factor=self.decay_factor))
        probability(final_factor=self.final_factor)


Shape = Callable[[int, int, ScheduleSettings], float]
"""A function from the number of finished rounds, the number of all rounds and the settings to a factor."""


def make_schedule(name: str, settings: ScheduleSettings | None = None) -> Schedule:
    """The schedule `name` of `base.registries.SCHEDULES`, with its warm-up.

    Raises:
        ValueError: for a name that is not registered; the message lists all names.
    """
    shape: Shape = SCHEDULES[name]
    chosen = settings or ScheduleSettings()

    def factor(round_number: int, rounds: int) -> float:
        warm = min(1.0, round_number / chosen.warm_up_rounds) if chosen.warm_up_rounds else 1.0
        return warm * shape(round_number - 1, rounds, chosen)

    return factor


def constant(round_number: int, rounds: int) -> float:
    """Factor 1 in every round: the default `Schedule`."""
    return 1.0


def flat(done: int, rounds: int, settings: ScheduleSettings) -> float:
    """Factor 1 in every round: the `Shape` of 'constant'."""
    return 1.0


def exponential(done: int, rounds: int, settings: ScheduleSettings) -> float:
    """Factor 1 for a rounds, then x^((done - a) / b): the paper's server schedule."""
    return float(settings.decay_factor ** (max(0, done - settings.decay_after) / settings.decay_every))


def step(done: int, rounds: int, settings: ScheduleSettings) -> float:
    """Factor 1 for a rounds, then x, and another factor of x after every b rounds."""
    past = done - settings.decay_after
    return float(settings.decay_factor ** (1 + past // settings.decay_every)) if past >= 0 else 1.0


def cosine(done: int, rounds: int, settings: ScheduleSettings) -> float:
    """From 1 down to the final factor along half a period of a cosine."""
    return _half_period(done / max(1, rounds), settings)


def half_cosine(done: int, rounds: int, settings: ScheduleSettings) -> float:
    """Factor 1 for the first half of the rounds, then like 'cosine'."""
    return _half_period(max(0.0, 2 * done / max(1, rounds) - 1), settings)


def _half_period(part: float, settings: ScheduleSettings) -> float:
    floor = settings.final_factor
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, part)))
