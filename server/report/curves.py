"""Curves and bars of one line of text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

LEVELS = "▁▂▃▄▅▆▇█"
FULL, LEFT = "━", "─"


def sparkline(values: Sequence[float], width: int) -> str:
    """Return `values` as a curve of at most `width` characters; values that are not finite are left out.

    More values than characters are averaged in equal parts; the last character has the newest.

    Example:
        >>> sparkline([3.0, 2.0, 1.0, 0.0], 8), sparkline([1.0, 1.0], 8), sparkline([], 8)
        ('█▆▃▁', '▁▁', '')
    """
    known = [value for value in values if math.isfinite(value)]
    if width < 1 or not known:
        return ""
    parts = min(width, len(known))
    edges = [round(index * len(known) / parts) for index in range(parts + 1)]
    means = [sum(known[begin:end]) / (end - begin) for begin, end in pairwise(edges)]
    low, span = min(means), max(means) - min(means)
    return "".join(LEVELS[round((len(LEVELS) - 1) * (mean - low) / span) if span else 0] for mean in means)


def bar(share: float, width: int) -> tuple[str, str]:
    """Return the filled and the empty part of a bar of `width` characters.

    Example:
        >>> bar(0.5, 4), bar(7.0, 4), bar(math.nan, 4)
        (('━━', '──'), ('━━━━', ''), ('', '────'))
    """
    known = min(1.0, max(0.0, share)) if not math.isnan(share) else 0.0
    full = math.floor(known * width)
    return FULL * full, LEFT * (width - full)
