"""Clip rules: how the clip bound C is split over the layers of a model.

A rule maps layer sizes and an exponent to slices of the model, each with a relative bound. It cannot break
the promise: `ClipBounds` scales whatever it returns to C, and the clip checks the norm on the integers.
"""

from __future__ import annotations

import math
from collections.abc import Callable

Weights = list[tuple[int, float]]
"""Of each slice of the model its size and the relative height of its bound."""

ClipRule = Callable[[tuple[int, ...], float], Weights]
"""From layer sizes and the exponent (which only 'power' reads) to slices and relative bounds."""


def one_slice(sizes: tuple[int, ...], exponent: float) -> Weights:
    """One slice for the whole model: clipping as without layers."""
    return [(sum(sizes), 1.0)]


def uniform(sizes: tuple[int, ...], exponent: float) -> Weights:
    """C_h = C / sqrt(H) for H layers."""
    return [(size, 1.0) for size in sizes]


def by_dimension(sizes: tuple[int, ...], exponent: float) -> Weights:
    """C_h = C sqrt(d_h / d): the same noise-to-bound ratio for every coordinate."""
    return [(size, math.sqrt(size)) for size in sizes]


def by_power_of_dimension(sizes: tuple[int, ...], exponent: float) -> Weights:
    """C_h ~ d_h^p: p = 0 is 'uniform', 1/2 is 'dim', 1/4 has the least relative noise over layers."""
    return [(size, float(size) ** exponent) for size in sizes]
