"""LAMB's two passes over a layer, compiled. torch needs a dozen passes and a new buffer of the layer's size.

The arithmetic has the dtype of the vectors, float32 or float64. All constants must have that dtype too.
Squared norms are float64. The second pass computes the direction again from the moments, instead of storing
it.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from privacy.kernels import compiled

Vector = npt.NDArray[np.floating[Any]]
Number = np.floating[Any]


class Direction(NamedTuple):
    """The constants of u = m * first_scale / (sqrt(s * second_scale) + epsilon) + decay * w.

    Example:
        >>> float(Direction(np.float32(1), np.float32(1), np.float32(1e-6), np.float32(0.5)).decay)
        0.5
    """

    first_scale: Number
    second_scale: Number
    epsilon: Number
    decay: Number


@compiled("reassoc")
def move_moments_(
    weights: Vector,
    gradient: Vector,
    first: Vector,
    second: Vector,
    rates: tuple[Number, Number],
    form: Direction,
) -> tuple[float, float]:
    """Update both moments, in place, by `rates` = (1 - beta1, 1 - beta2); returns |w|^2 and |u|^2."""
    first_scale, second_scale, epsilon, decay = form
    squared_weights = squared_direction = 0.0
    for index in range(weights.size):
        value = gradient[index]
        mean = first[index] + rates[0] * (value - first[index])
        square = second[index] + rates[1] * (value * value - second[index])
        first[index], second[index] = mean, square
        direction = mean * first_scale / (np.sqrt(square * second_scale) + epsilon) + decay * weights[index]
        squared_weights += np.float64(weights[index]) * np.float64(weights[index])
        squared_direction += np.float64(direction) * np.float64(direction)
    return squared_weights, squared_direction


@compiled("reassoc")
def follow_(weights: Vector, first: Vector, second: Vector, step: Number, form: Direction) -> None:
    """w <- w - step * u, in place."""
    first_scale, second_scale, epsilon, decay = form
    for index in range(weights.size):
        root = np.sqrt(second[index] * second_scale) + epsilon
        weights[index] -= step * (first[index] * first_scale / root + decay * weights[index])
