"""The comparison of two runs on neighbouring data sets whose noised outputs are the same."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import zip_longest

from audit.findings import Finding
from audit.neighbours import Adjacency
from audit.trace import Query, Steps, Trace
from privacy.clipping.quantisation import limited_ranges


def compare(
    recorded: Trace, replayed: Trace, adjacency: Adjacency, still: frozenset[int] = frozenset()
) -> list[Finding]:
    """What differs and must not.

    Args:
        still: Rounds in which the person that differs was not drawn, or counts as zero in both: their sums
            must be the same, to the bit.
        Guarantee: an empty list means the same primitives in the same order, with the same metadata (but N
            and:
        the draw, where N differs by one), and sums that differ by at most the bound of each group of slices,:
        and so by C in all.:
    """
    return [
        *_sequence(recorded, replayed),
        *_metadata(recorded, replayed, adjacency),
        *_sums(recorded, replayed, still),
    ]


def _sequence(recorded: Trace, replayed: Trace) -> Iterator[Finding]:
    """The first place at which the order of primitives differs."""
    names = ([(event.round_number, event.name) for event in trace.events] for trace in (recorded, replayed))
    for before, now in zip_longest(*names):
        if before != now:
            number = (before or now)[0]
            yield Finding(what="sequence", round_number=number, detail=f"{before} became {now}")
            return


def _metadata(recorded: Trace, replayed: Trace, adjacency: Adjacency) -> Iterator[Finding]:
    whole = adjacency is Adjacency.ZERO_OUT
    for before, now in zip(recorded.events, replayed.events, strict=False):
        if type(before) is not type(now):
            return  # `_sequence` has it
        said = zip(before.said(with_population=whole), now.said(with_population=whole), strict=True)
        for (name, was), (_, is_now) in said:
            if was != is_now:
                detail = f"{before.name}.{name}: {was!r} became {is_now!r}"
                yield Finding(what="metadata", round_number=before.round_number, detail=detail)


def _sums(recorded: Trace, replayed: Trace, still: frozenset[int]) -> Iterator[Finding]:
    for before, now in zip(recorded.queries, replayed.queries, strict=False):
        if before.bounds == now.bounds:  # else it is among the metadata
            yield from _moved(before, now, before.round_number in still)


def _moved(before: Query, now: Query, still: bool) -> Iterator[Finding]:
    """Sums that one person moves further than declared: in a group of slices, or as a whole."""
    change, full = before.steps - now.steps, 4**before.quantiser.bits
    groups = limited_ranges(before.bounds, before.quantiser)
    parts = [(f"slices from {first}", begin, end, limit) for first, begin, end, limit in groups]
    for name, begin, end, limit in [*parts, ("the whole", 0, change.size, full)]:
        allowed = 0 if still else limit
        if (moved := _squared(change[begin:end])) > allowed:
            by, declared = math.sqrt(moved / full), math.sqrt(allowed / full)
            yield Finding(
                what="moved" if still else "sensitivity",
                round_number=before.round_number,
                detail=f"{name} by {by:.6g} C, declared {declared:.6g} C",
            )


def _squared(steps: Steps) -> int:
    """The sum of squares, exact: Python's whole numbers have no end."""
    return sum(value * value for value in steps.tolist())
