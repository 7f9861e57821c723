"""The learning rate as a pure function of the step: a resumed training needs no state for it."""

import math
from collections.abc import Callable

from speech.pretraining.config import PretrainConfig

Shape = Callable[[int, float, PretrainConfig], float]
"""Maps steps so far, the fraction of the training (0 to 1) and the settings to a factor."""


def learning_rate_scale(done: int, steps: int, config: PretrainConfig) -> float:
    """Return the fraction of the peak rate for the step after `done` of `steps`: warm-up times schedule."""
    # Neither the first step nor the last one has a rate of 0.
    progress = (done + 1) / (steps + 1)
    warm = progress / config.warm_up if progress < config.warm_up else 1.0
    return warm * _SHAPES[config.schedule](done, progress, config)


def _constant(done: int, progress: float, config: PretrainConfig) -> float:
    """Return 1."""
    return 1.0


def _cosine(done: int, progress: float, config: PretrainConfig) -> float:
    """Return 1 until `flat_until`, then fall to 0 along half a cosine wave."""
    if progress <= config.flat_until:
        return 1.0
    fallen = (progress - config.flat_until) / (1 - config.flat_until)
    return (1 + math.cos(math.pi * fallen)) / 2


def _exponential(done: int, progress: float, config: PretrainConfig) -> float:
    """Return 1 for `decay_after` steps, then fall smoothly by a factor per `decay_every` steps."""
    return float(config.decay_factor ** (max(0, done - config.decay_after) / config.decay_every))


def _step(done: int, progress: float, config: PretrainConfig) -> float:
    """Return 1 for `decay_after` steps, then the factor, once more after every `decay_every` steps."""
    past = done - config.decay_after
    return float(config.decay_factor ** (1 + past // config.decay_every)) if past >= 0 else 1.0


_SHAPES: dict[str, Shape] = {
    "constant": _constant,
    "cosine": _cosine,
    "exponential": _exponential,
    "step": _step,
}
