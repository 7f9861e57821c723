"""What the runs say of a claim that was stated before them.

Guarantee: a verdict follows from the interval of the comparison and the claim alone, by the rules of
`Finding.verdict`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cli.paper.results.statistics import Estimate, Table, difference, mean_difference, ratio
from cli.paper.small.experiments import Cell, Claim, matches, word

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "is undecided"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One comparison: the WER of a cell less that of another in points, or over it."""

    of: str
    against: str
    estimate: Estimate
    expect: str
    margin: float

    @property
    def is_ratio(self) -> bool:
        """Whether the estimate is a ratio."""
        return self.expect == "ratio-below"

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval of a difference has one sign."""
        return not self.estimate.low <= 0 <= self.estimate.high

    @property
    def verdict(self) -> str:
        """It holds if the whole interval is where it was expected, and does not hold if none of it is."""
        low, high = self.estimate.low, self.estimate.high
        if self.expect == "within":
            holds, fails = -self.margin < low and high < self.margin, low > self.margin or high < -self.margin
        elif self.expect == "above":
            holds, fails = low > 0, high < 0
        elif self.expect == "ratio-below":
            holds, fails = high < 1 + self.margin, low > 1 + self.margin
        else:
            holds, fails = high < 0, low > 0
        return HOLDS if holds else FAILS if fails else UNDECIDED

    @property
    def told(self) -> str:
        """The verdict of a claim without an expectation."""
        if not self.excludes_zero:
            return "no difference shown"
        return "better" if self.estimate.high < 0 else "worse"

    @property
    def text(self) -> str:
        """The comparison in words, with its numbers."""
        e = self.estimate
        if self.is_ratio:
            return f"{self.of} over {self.against}: {e.value:.3f} ({e.low:.3f} to {e.high:.3f})"
        return f"{self.of} less {self.against}: {e.value:+.1f} points ({e.low:+.1f} to {e.high:+.1f})"


def findings(claim: Claim, cells: Mapping[str, Cell], tables: Mapping[str, Table]) -> list[Finding]:
    """Return the comparisons of a claim, of the cells that have their runs."""
    compare = ratio if claim.expect == "ratio-below" else difference
    scale = 1.0 if claim.expect == "ratio-below" else 100.0
    return [
        Finding(
            of=of,
            against=against,
            estimate=compare(tables[of], tables[against]).scaled(scale),
            expect=claim.expect,
            margin=claim.margin,
        )
        for of, against in _made(claim, cells, tables)
    ]


def _made(claim: Claim, cells: Mapping[str, Cell], tables: Mapping[str, Table]) -> Iterator[tuple[str, str]]:
    """The names of both sides of each comparison whose runs are there."""
    return ((of, to) for of, to in _stated(claim, cells) if of in tables and to in tables)


def _stated(claim: Claim, cells: Mapping[str, Cell]) -> Iterator[tuple[str, str]]:
    if claim.of:
        for name in cells:
            if matches(name, claim.of) and name != claim.against:
                yield name, claim.against
        return
    for name, cell in cells.items():
        if claim.key in cell.varied and word(cell.varied[claim.key]) != claim.against:
            yield from ((name, other) for other in cells if _is_twin(cell, cells[other], claim))


def _is_twin(cell: Cell, other: Cell, claim: Claim) -> bool:
    """Whether `other` has the value that the claim compares with, and is otherwise the same cell."""
    if word(other.varied.get(claim.key, "")) != claim.against or set(cell.varied) != set(other.varied):
        return False
    return all(cell.varied[key] == other.varied[key] for key in cell.varied if key != claim.key)


def pairs(claim: Claim, cells: Mapping[str, Cell], tables: Mapping[str, Table]) -> list[tuple[Table, Table]]:
    """Return both sides of each comparison of a claim by a key, of the cells that have their runs."""
    if not claim.key:
        return []
    return [(tables[of], tables[against]) for of, against in _made(claim, cells, tables)]


def together(compared: Sequence[tuple[Table, Table]]) -> str:
    """Return the mean of several differences in words, after a comma; "" for fewer than two."""
    if len(compared) < 2:
        return ""
    mean = mean_difference(compared).scaled(100)
    return f", together {mean.value:+.1f} points ({mean.low:+.1f} to {mean.high:+.1f})"


def answer(claim: Claim, found: list[Finding], compared: Sequence[tuple[Table, Table]] = ()) -> str:
    """Return a claim's answer as one item of a list: the verdict, then each comparison.

    Args:
        claim: The claim.
        found: Its comparisons.
        compared: Those whose mean is told as well, both sides of each.
    """
    if not found:
        return f"{claim.text}: no runs yet"
    words = [finding.verdict if claim.expect else finding.told for finding in found]
    if len(found) == 1:
        return f"{claim.text}{_margin(claim)}: **{words[0]}**. {found[0].text}."
    counts = ", ".join(f"{words.count(one)} {one}" for one in dict.fromkeys(words))
    lines = [
        f"{claim.text}{_margin(claim)}: **{counts}**, of {len(found)} comparisons{together(compared)}; at "
        f"95 % each, {0.05 * len(found):.1f} of them would show a difference where there is none."
    ]
    return "\n".join([*lines, *(f"  - {one.text}: {said}" for one, said in zip(found, words, strict=True))])


def _margin(claim: Claim) -> str:
    if claim.expect == "within":
        return f" (margin {claim.margin:g} points)"
    return f" (margin {100 * claim.margin:g} %)" if claim.expect == "ratio-below" else ""
