"""The comparison of two runs on neighbouring data sets with the same noised outputs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import zip_longest

from audit.neighbours import Adjacency
from audit.trace import Query, Steps, Trace
from audit.violations import Violation
from privacy.clipping.quantisation import limited_ranges


def compare(
    recorded: Trace, replayed: Trace, adjacency: Adjacency, equal_rounds: frozenset[int] = frozenset()
) -> list[Violation]:
    """The differences between two runs that the guarantee forbids.

    Guarantee:
        An empty list means: the same primitives in the same order, with the same metadata (except N and the
        draw, where N differs by one), and sums that differ by at most the bound of each group of slices, and
        so by at most C in all.

    Args:
        recorded: the first run.
        replayed: the run on the neighbouring data set.
        adjacency: how the two data sets differ.
        equal_rounds: rounds in which the person that differs was not drawn, or adds zero in both runs: their
            sums must be equal, bit for bit.
    """
    return [
        *_sequence(recorded, replayed),
        *_metadata(recorded, replayed, adjacency),
        *_sums(recorded, replayed, equal_rounds),
    ]


def _sequence(recorded: Trace, replayed: Trace) -> Iterator[Violation]:
    """The first place at which the order of primitives differs."""
    names = ([(event.round_number, event.name) for event in trace.events] for trace in (recorded, replayed))
    for before, now in zip_longest(*names):
        if before != now:
            number = (before or now)[0]
            yield Violation(what="sequence", round_number=number, detail=f"{before} became {now}")
            return


def _metadata(recorded: Trace, replayed: Trace, adjacency: Adjacency) -> Iterator[Violation]:
    whole = adjacency is Adjacency.ZERO_OUT
    for before, now in zip(recorded.events, replayed.events, strict=False):
        if type(before) is not type(now):
            return  # `_sequence` reports it
        values = zip(before.values(with_population=whole), now.values(with_population=whole), strict=True)
        for (name, was), (_, is_now) in values:
            if was != is_now:
                detail = f"{before.name}.{name}: {was!r} became {is_now!r}"
                yield Violation(what="metadata", round_number=before.round_number, detail=detail)


def _sums(recorded: Trace, replayed: Trace, equal_rounds: frozenset[int]) -> Iterator[Violation]:
    for before, now in zip(recorded.queries, replayed.queries, strict=False):
        if before.bounds == now.bounds:  # if not, the metadata differ
            yield from _changed(before, now, before.round_number in equal_rounds)


def _changed(before: Query, now: Query, must_be_equal: bool) -> Iterator[Violation]:
    """Sums that one person changes by more than declared: in a group of slices, or as a whole."""
    change, full = before.steps - now.steps, 4**before.quantiser.bits
    groups = limited_ranges(before.bounds, before.quantiser)
    parts = [(f"slices from {first}", begin, end, limit) for first, begin, end, limit in groups]
    for name, begin, end, limit in [*parts, ("the whole", 0, change.size, full)]:
        allowed = 0 if must_be_equal else limit
        if (moved := _squared(change[begin:end])) > allowed:
            by, declared = math.sqrt(moved / full), math.sqrt(allowed / full)
            yield Violation(
                what="changed" if must_be_equal else "sensitivity",
                round_number=before.round_number,
                detail=f"{name} by {by:.6g} C, declared {declared:.6g} C",
            )


def _squared(steps: Steps) -> int:
    """The sum of squares, exact in Python's integers."""
    return sum(value * value for value in steps.tolist())
