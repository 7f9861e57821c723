"""The record of a run: its primitives in order, and its queries with the bounds that were declared for them.

Every primitive is an event with a class of its own. The values of its fields must not depend on any one
person. The exception are fields marked `of_population`, which change with N or with the draw: the rate S / N,
the nodes with a task, the length of a sum of this count. N is public and the draw is the server's secret, so
these may differ if one data set has a person more, and only then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from privacy import ClipBounds, Quantiser

Steps = npt.NDArray[np.int64]
"""Values in whole quantisation steps."""

OF_POPULATION = "of population"


def of_population() -> Any:
    """A dataclass field that may change with N, or with the draw."""
    return field(metadata={OF_POPULATION: True})


@dataclass(frozen=True, kw_only=True)
class Event:
    """One primitive in a round. Round 0 is the time before the first round."""

    round_number: int

    @property
    def name(self) -> str:
        """The kind of primitive, in a word."""
        return type(self).__name__

    def values(self, *, with_population: bool) -> Iterator[tuple[str, object]]:
        """Names and values of the fields, with or without those marked `of_population`."""
        for one in fields(self):
            if with_population or OF_POPULATION not in one.metadata:
                yield one.name, getattr(self, one.name)


@dataclass(frozen=True, kw_only=True)
class Registered(Event):
    """A node reported its number of speakers, or its `problem`."""

    node: int
    problem: str
    speakers: int = of_population()


@dataclass(frozen=True, kw_only=True)
class Drawn(Event):
    """The sampler drew a cohort, with `coins`: pairs of their number and their rate."""

    step: int
    bands: int
    cohort_cap: int
    coins: tuple[tuple[int, float], ...] = of_population()


@dataclass(frozen=True, kw_only=True)
class Asked(Event):
    """Tasks were sent; for each node what its message shows."""

    messages: Mapping[int, tuple[object, ...]] = of_population()


@dataclass(frozen=True, kw_only=True)
class ReplySummary:
    """What a node's reply shows beside its packed sum.

    Args:
        outcome: "sum", or the error or problem.
        fields: its named values.
        extra: names that are not part of the protocol.
        size: the bytes of its arrays.
        declared_size: the bytes that its count decides.
    """

    outcome: str
    fields: tuple[tuple[str, object], ...] = ()
    extra: frozenset[str] = frozenset()
    size: int = 0
    declared_size: int = 0


@dataclass(frozen=True, kw_only=True)
class Answered(Event):
    """The nodes replied. `problems` are the outcomes that are not a sum."""

    problems: tuple[str, ...]
    replies: Mapping[int, ReplySummary] = of_population()


@dataclass(frozen=True, kw_only=True)
class Collected(Event):
    """The strategy received the last reply."""


@dataclass(frozen=True, kw_only=True)
class Spent(Event):
    """The ledger wrote an entry."""

    noise_multiplier: float
    cohort_cap: int
    count: int
    names: tuple[tuple[str, object], ...]
    rate: float = of_population()


@dataclass(frozen=True, kw_only=True)
class Queried(Event):
    """Noise was requested for a sum (see `Query`), when the ledger's file had `on_disk` entries."""

    bounds: ClipBounds
    quantiser: Quantiser
    noise_multiplier: float
    size: int
    secure: bool
    on_disk: int


@dataclass(frozen=True, kw_only=True)
class Noised(Event):
    """Values `begin` to `end` were released.

    `whole` is true if each of them is its sum plus what a source drew with standard deviations `stds`.
    """

    begin: int
    end: int
    stds: tuple[float, ...]
    whole: bool


@dataclass(frozen=True, kw_only=True)
class Stepped(Event):
    """The optimiser received a vector, `given`, and made a `model` (SHA-256 of each).

    `unit` is the single factor from the released steps to that vector; NaN if there is none.
    """

    given: str
    model: str
    rate: float
    unit: float


@dataclass(frozen=True, kw_only=True)
class Published(Event):
    """What is shown of a round, and what the next round starts with, by name."""

    line: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class NodesDropped(Event):
    """Nodes whose reply was dropped or missing, and the reason."""

    who: tuple[tuple[int, str], ...]


@dataclass(frozen=True, kw_only=True)
class Logged(Event):
    """A line in the server's log."""

    logger: str
    line: str


@dataclass(frozen=True, kw_only=True)
class Stopped(Event):
    """An exception ended the run."""

    error: str


@dataclass(frozen=True, kw_only=True)
class Query:
    """A sum (size,) before its noise, the bounds declared for one person, and its released values.

    `noise` is what the source added, zero where it added nothing. It is filled in when a block is released.
    """

    round_number: int
    steps: Steps
    bounds: ClipBounds
    quantiser: Quantiser
    released: Steps
    noise: Steps


Kind = TypeVar("Kind", bound=Event)


@dataclass(kw_only=True)
class Trace:
    """A recorded run."""

    events: list[Event] = field(default_factory=list)
    queries: list[Query] = field(default_factory=list)

    @property
    def rounds(self) -> tuple[int, ...]:
        """The rounds with events, ascending."""
        return tuple(sorted({event.round_number for event in self.events} - {0}))

    def events_of(self, round_number: int) -> tuple[Event, ...]:
        """A round's events, in order."""
        return tuple(event for event in self.events if event.round_number == round_number)

    def query_of(self, round_number: int) -> Query | None:
        """The (first) query of a round, if there is one."""
        return next((query for query in self.queries if query.round_number == round_number), None)


def only(kind: type[Kind], events: tuple[Event, ...]) -> tuple[Kind, ...]:
    """The events of one class, in order."""
    return tuple(event for event in events if isinstance(event, kind))
