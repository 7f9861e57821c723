"""Clip rules: how the clip bound C is divided over the layers of a model.

A rule maps layer sizes and an exponent to slices of the model, each with a relative bound.

Guarantee: no rule can break the promise. `ClipBounds.of` asks a rule once, refuses an answer that is no
partition of the model with positive bounds, and scales the bounds to C. After that, `add_clipped_` checks the
norm of each update on the integers.
"""

from __future__ import annotations

import math
from collections.abc import Callable

Weights = list[tuple[int, float]]
"""Each slice of the model: its size and its relative bound."""

ClipRule = Callable[[tuple[int, ...], float], Weights]
"""A function from layer sizes and the exponent (only 'power' reads it) to slices and relative bounds."""


def one_slice(sizes: tuple[int, ...], exponent: float) -> Weights:
    """One slice for the whole model: ordinary clipping, without layers."""
    return [(sum(sizes), 1.0)]


def uniform(sizes: tuple[int, ...], exponent: float) -> Weights:
    """C_h = C / sqrt(H) for H layers."""
    return [(size, 1.0) for size in sizes]


def by_dimension(sizes: tuple[int, ...], exponent: float) -> Weights:
    """C_h = C sqrt(d_h / d): the same ratio of noise to bound for every coordinate."""
    return [(size, math.sqrt(size)) for size in sizes]


def by_power_of_dimension(sizes: tuple[int, ...], exponent: float) -> Weights:
    """C_h ~ d_h^p: p = 0 is 'uniform', p = 1/2 is 'dim', p = 1/4 has the least relative noise over layers."""
    return [(size, float(size) ** exponent) for size in sizes]
