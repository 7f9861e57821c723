"""A soak's events as numbers: what each fault led to, and how each part's memory went."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

WARM_UP_SECONDS = 180.0
TWO = "two at once"
Event = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Played:
    """A fault, or two at once, with what came of it; `None` where it did not."""

    family: str
    began: float
    undone: float
    healthy: float | None
    recovered: float | None
    gap: float


def played(events: Sequence[Event]) -> list[Played]:
    """All faults that were played and undone."""
    by_number: dict[int, list[Event]] = defaultdict(list)
    for event in events:
        if event["what"] in ("fault", "undone", "recovered"):
            by_number[event["number"]].append(event)
    times = [event["t"] for event in events if event["what"] == "round"]
    return [one for group in by_number.values() if (one := _one(group, times)) is not None]


def _one(group: list[Event], rounds: list[float]) -> Played | None:
    faults = [event for event in group if event["what"] == "fault"]
    undone = [event["t"] for event in group if event["what"] == "undone"]
    back = next((event for event in group if event["what"] == "recovered"), None)
    if not faults or len(undone) < len(faults):
        return None
    began, end = faults[0]["t"], max(undone)
    until = back["t"] if back else end
    gaps = [later - earlier for earlier, later in pairwise(rounds) if later > began and earlier < until]
    return Played(
        family=TWO if len(faults) > 1 else faults[0]["family"],
        began=began,
        undone=end,
        healthy=back["healthy_seconds"] if back else None,
        recovered=back["seconds"] if back else None,
        gap=max(gaps, default=0.0),
    )


def fault_rows(faults: Sequence[Played]) -> list[tuple[str, ...]]:
    """The table of faults by family."""
    families: dict[str, list[Played]] = defaultdict(list)
    for one in faults:
        families[one.family].append(one)
    heading = (
        "fault",
        "times",
        "seconds to health, median and worst",
        "seconds to the next round, median and worst",
        "longest time without a round, seconds",
        "not recovered",
    )
    rows: list[tuple[str, ...]] = [heading]
    for family, those in sorted(families.items()):
        healthy = [one.healthy for one in those if one.healthy is not None]
        seconds = [one.recovered for one in those if one.recovered is not None]
        rows.append(
            (
                family,
                str(len(those)),
                _middle_and_worst(healthy),
                _middle_and_worst(seconds),
                f"{max(one.gap for one in those):.0f}",
                str(len(those) - len(seconds)),
            )
        )
    return rows


def _middle_and_worst(values: Sequence[float]) -> str:
    return f"{median(values):.0f}, {max(values):.0f}" if values else ""


Life = list[tuple[float, dict[str, Any]]]


def lives(events: Sequence[Event]) -> dict[str, list[Life]]:
    """By part, the samples of each time that it was started."""
    found: dict[str, dict[str, Life]] = defaultdict(lambda: defaultdict(list))
    for event in events:
        if event["what"] == "sample":
            for name, numbers in event["parts"].items():
                found[name][numbers["started"]].append((event["t"], numbers))
    return {name: list(by_start.values()) for name, by_start in found.items()}


def memory_rows(events: Sequence[Event]) -> list[tuple[str, ...]]:
    """The table of memory, descriptors and processes by part."""
    heading = (
        "part",
        "times started",
        "longest life, minutes",
        "in its first third: lowest and most MB",
        "in its last third: lowest and most MB",
        "descriptors, lowest, in these thirds",
        "most processes, most zombies",
    )
    return [heading, *(_memory_row(name, those) for name, those in sorted(lives(events).items()))]


def _memory_row(name: str, those: list[Life]) -> tuple[str, ...]:
    longest = max(those, key=lambda life: life[-1][0] - life[0][0])
    warm = [one for t, one in longest if t - longest[0][0] >= WARM_UP_SECONDS] or [one for _, one in longest]
    third = max(1, len(warm) // 3)
    first, last = warm[:third], warm[-third:]
    everything = [numbers for life in those for _, numbers in life]
    descriptors = [min(one["descriptors"] for one in part) for part in (first, last)]
    return (
        name,
        str(len(those)),
        f"{(longest[-1][0] - longest[0][0]) / 60:.0f}",
        _lowest_and_most(first),
        _lowest_and_most(last),
        f"{descriptors[0]}, {descriptors[1]}",
        f"{max(one['processes'] for one in everything)}, {max(one['zombies'] for one in everything)}",
    )


def _lowest_and_most(numbers: list[dict[str, Any]]) -> str:
    megabytes = [one["memory"] / 1e6 for one in numbers]
    return f"{min(megabytes):.0f}, {max(megabytes):.0f}"


def of(events: Sequence[Event], what: str) -> Iterator[Event]:
    """The events of one sort."""
    return (event for event in events if event["what"] == what)
