"""Forty steps that server optimisers are compared over: the same numbers wherever they are computed.

No random generator, so that another library in another process sees the same pseudo-gradients: of very
different sizes from step to step, with a layer that starts at zero and a gradient that is zero once.
"""

import numpy as np

SHAPES = {"matrix": (7, 5), "bias": (5,), "scale": (), "zero": (3,)}
STEPS = 40


def start() -> dict[str, np.ndarray]:
    """The weights before the first step, float64."""
    weights = {name: np.asarray(np.cos(3.1 * _numbers(shape))) for name, shape in SHAPES.items()}
    return {**weights, "zero": np.zeros(SHAPES["zero"])}


def gradient(step: int) -> dict[str, np.ndarray]:
    """The pseudo-gradient of a step (from 0), float64."""
    size = 0.0 if step == 11 else 10.0 ** (step % 5 - 3)
    phases = {name: step * 1.7 + 0.9 * index for index, name in enumerate(SHAPES)}
    return {
        name: np.asarray(size * np.sin(phases[name] + 2.3 * _numbers(shape)), dtype=np.float64)
        for name, shape in SHAPES.items()
    }


def learning_rate(step: int) -> float:
    """A rate that moves, since optimisers differ in where it enters."""
    return 0.05 if step < 20 else 0.02


def flat(layers: dict[str, np.ndarray]) -> np.ndarray:
    """The layers one after the other."""
    return np.concatenate([np.ravel(layers[name]) for name in SHAPES])


def _numbers(shape: tuple[int, ...]) -> np.ndarray:
    """1, 2, 3, ... in a shape."""
    return np.arange(1.0, np.prod(shape) + 1).reshape(shape)
