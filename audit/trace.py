"""What a run did: its primitives in order, and its queries with the bounds that were declared for them.

Every primitive is an event of a class of its own. What it says must not depend on any one person, but for the
fields marked `of_population`: what changes with N or with who was drawn (the rate S / N, who was asked, how
long a sum of so many is). N is public and the draw is the server's secret, so these may differ where one
person more is there, and only there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from privacy import ClipBounds, Quantiser

Steps = npt.NDArray[np.int64]
"""Values in whole grid steps."""

OF_POPULATION = "of population"


def of_population() -> Any:
    """A field that changes with N, or with who was drawn."""
    return field(metadata={OF_POPULATION: True})


@dataclass(frozen=True, kw_only=True)
class Event:
    """One primitive, in a round; round 0 is what comes before the first."""

    round_number: int

    @property
    def name(self) -> str:
        """What it was, in a word."""
        return type(self).__name__

    def said(self, *, with_population: bool) -> Iterator[tuple[str, object]]:
        """Its fields and their values, with or without those that are of the population."""
        for one in fields(self):
            if with_population or OF_POPULATION not in one.metadata:
                yield one.name, getattr(self, one.name)


@dataclass(frozen=True, kw_only=True)
class Registered(Event):
    """A node said whom it holds, or what its `problem` is."""

    node: int
    problem: str
    speakers: int = of_population()


@dataclass(frozen=True, kw_only=True)
class Drawn(Event):
    """The sampler was asked for a cohort, and flipped `coins`: so many, each of such a rate."""

    step: int
    bands: int
    cohort_cap: int
    coins: tuple[tuple[int, float], ...] = of_population()


@dataclass(frozen=True, kw_only=True)
class Asked(Event):
    """Messages went out; of each node what its message said and how many speakers it was for."""

    messages: Mapping[int, tuple[object, ...]] = of_population()


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a node's reply shows beside its packed sum: `outcome` is "sum", or what went wrong.

    `fields` are the values that it names, `extra` what it has beyond the protocol; `size` and `declared_size`
    are bytes of its arrays.
    """

    outcome: str
    fields: tuple[tuple[str, object], ...] = ()
    extra: frozenset[str] = frozenset()
    size: int = 0
    declared_size: int = 0


@dataclass(frozen=True, kw_only=True)
class Answered(Event):
    """The nodes replied. `problems` are the outcomes that are no sum."""

    problems: tuple[str, ...]
    replies: Mapping[int, Told] = of_population()


@dataclass(frozen=True, kw_only=True)
class Collected(Event):
    """The strategy took the last reply."""


@dataclass(frozen=True, kw_only=True)
class Spent(Event):
    """The ledger took an entry."""

    noise_multiplier: float
    cohort_cap: int
    count: int
    names: tuple[tuple[str, object], ...]
    rate: float = of_population()


@dataclass(frozen=True, kw_only=True)
class Queried(Event):
    """Noise was asked for a sum (`Query` has it), when the ledger had `on_disk` entries in its file."""

    bounds: ClipBounds
    quantiser: Quantiser
    noise_multiplier: float
    size: int
    secure: bool
    on_disk: int


@dataclass(frozen=True, kw_only=True)
class Noised(Event):
    """Values `begin` to `end` left; `whole` says that each did as sum plus what a source drew with `stds`."""

    begin: int
    end: int
    stds: tuple[float, ...]
    whole: bool


@dataclass(frozen=True, kw_only=True)
class Stepped(Event):
    """The optimiser was `given` a vector and made a `model` of it (SHA-256 of each).

    `unit` is the one factor that takes the released steps to that vector; NaN if there is none.
    """

    given: str
    model: str
    rate: float
    unit: float


@dataclass(frozen=True, kw_only=True)
class Published(Event):
    """What is shown of a round, and what the next begins with, by name."""

    line: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Dropped(Event):
    """Nodes that gave nothing, and why."""

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
    """A sum (size,) before its noise, the bounds declared for one person, and what was released of it.

    `noise` is what the source added, zero where it added nothing. It is filled in as the blocks leave.
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
        """The rounds in which anything happened, ascending."""
        return tuple(sorted({event.round_number for event in self.events} - {0}))

    def events_of(self, round_number: int) -> tuple[Event, ...]:
        """A round's events, in order."""
        return tuple(event for event in self.events if event.round_number == round_number)

    def query_of(self, round_number: int) -> Query | None:
        """A round's (first) query, if there was one."""
        return next((query for query in self.queries if query.round_number == round_number), None)


def only(kind: type[Kind], events: tuple[Event, ...]) -> tuple[Kind, ...]:
    """The events of a kind, in order."""
    return tuple(event for event in events if isinstance(event, kind))
