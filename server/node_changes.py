"""Who came, went or changed since the roll call. Each change is told once; none of them changes the plan.

A speaker of the roster who is not there counts as not taking part: divisor, noise and sampling rate stay. One
who is there and not in the roster is never drawn: a new plan, and with it a new run, is needed for that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from strategies import PopulationIndex
from strategies.round import RoundReport

NEXT_RUN = (
    "a new run counts them (this run's model.safetensors can be its model.seed, whose spending it takes "
    "over, and privacy.people keep its ledger)"
)


class TooFewAnswers(RuntimeError):
    """Rounds go on that learn nothing and spend their budget; the message says how to go on."""


def require_answers(report: RoundReport, least: int) -> None:
    """Refuse to go on after a round that too few of its nodes answered, with noise alone or nearly so.

    The round is released and spent all the same: to leave it out, or to draw it again, because of who
    answered would make what is released depend on more than the plan accounts for.

    Does the stop itself tell of a person? It is a function of which nodes answered, so the question is
    whether one speaker's data can make a node's answer fail to come. On the node, work, memory and time are
    bounded for each speaker, by that speaker's speech alone, and a death of the process costs the speaker who
    caused it and no other: what is left of a node's answering are its machine and its network. So under
    zero-out adjacency, where the same nodes are asked, the stop is the same whatever any one person's data
    are. Under add-or-remove a node whose only drawn speaker is that person is asked in one run and not in the
    other, and the stop differs where just this answer decides: so many other nodes must be away that `least`
    is missed by one. That has at most the probability with which the person is drawn alone on a node in a
    round in which all but `least` - 1 of the other nodes fail: a residual (docs/privacy.md), and none where
    nodes hold enough speakers that one drawn alone is rare.

    Raises:
        TooFewAnswers: If fewer than `least` nodes answered, or than all where fewer were asked.
    """
    if report.nodes_answered >= min(least, report.nodes_asked):
        return
    why = report.dropped[0] if report.dropped else None
    raise TooFewAnswers(
        f"{report.nodes_answered} of {report.nodes_asked} nodes answered in round {report.round_number}, "
        f"training.min-answers is {least}"
        + (f" (node {why.node}: {why.reason})" if why else "")
        + ": bring them back and go on with run.resume, or set it lower"
    )


class RepliesRefused(RuntimeError):
    """A simulation lost updates by a fault of this program; the message shows the first."""


def require_none_refused(report: RoundReport) -> None:
    """Refuse to go on with a simulation in which a reply did not pass the server's checks.

    Nodes of a simulation run our code on tasks of ours: whatever their speech is, a reply answers a message
    of its round, repeats the task's labels and holds a sum of the right size within its bounds. So a refusal
    is a fault of ours, which costs updates; the nodes of a federation may lie, and theirs are only noted.
    A node that failed (its worker died, its speech cannot be read) or was late counts as zero here as well.

    The round is released and spent all the same, before this stop. The stop tells nothing of anybody's
    speech: no data makes an honest reply fail these checks, which test what the clip and the labels guarantee
    for all data. (Were that guarantee false, epsilon would be, too.) Failures and silence, which data can
    cause, never stop a run by this rule.

    Raises:
        RepliesRefused: If a reply was refused.
    """
    refused = [drop for drop in report.dropped if drop.refused]
    if refused:
        raise RepliesRefused(
            f"{len(refused)} of {report.nodes_asked} simulated nodes had their reply refused in round "
            f"{report.round_number} (node {refused[0].node}: {refused[0].reason}): a fault of murmuration, "
            "not of the data; please report it, with the run's config.toml. The round is released and spent"
        )


class NodeChanges:
    """Compares what is there after each round with the roster. `remarks` are those of before, and its own."""

    def __init__(self, population_index: PopulationIndex, remarks: Iterable[str] = ()) -> None:
        self._speakers = dict(zip(population_index.nodes, population_index.counts, strict=True))
        self._absent: set[int] = set()
        self._told: set[int] = set()
        self.remarks: list[str] = [*remarks]

    def look(self, connected: Collection[int], changed: Collection[int]) -> list[str]:
        """What is new since the last look: lines for the table, also added to `remarks`.

        `connected` are the nodes that are there; `changed` those whose speech is not what answered the roll.
        """
        absent = set(self._speakers) - set(connected)
        strangers = set(connected) - set(self._speakers)
        fresh = [
            *(self._left(node) for node in sorted(absent - self._absent)),
            *(f"node {node} is back" for node in sorted(self._absent - absent)),
            *(self._joined(node) for node in sorted(strangers - self._told)),
            *(self._changed(node) for node in sorted(set(changed) - self._told)),
        ]
        self._absent = absent
        self._told |= strangers | set(changed)
        self.remarks += fresh
        return fresh

    def _left(self, node: int) -> str:
        return f"node {node} is gone: its {self._speakers[node]} speakers count as not taking part"

    def _joined(self, node: int) -> str:
        return f"node {node} joined after the roll call: its speakers are never drawn; {NEXT_RUN}"

    def _changed(self, node: int) -> str:
        return (
            f"node {node} holds other speech than at the roll call: speakers who are gone count as zero, new "
            f"ones are never drawn; {NEXT_RUN}"
        )
