"""A clip rule: lower bounds for deeper layers."""

from __future__ import annotations

import math

from privacy.clipping.rules import Weights


def by_depth(sizes: tuple[int, ...], exponent: float) -> Weights:
    """C_h ~ sqrt(d_h) / h^p for layer h = 1, 2, ... and the exponent p.

    Only the ratios count: murmuration scales the bounds so that together they make the clip bound C.
    """
    return [(size, math.sqrt(size) / depth**exponent) for depth, size in enumerate(sizes, start=1)]
