"""Nodes that join, leave, return or change after registration: each change is reported once.

None of these changes the plan. A registered speaker whose node is absent counts as not taking part: divisor,
noise and sampling rate stay the same. A speaker who was not registered is never drawn; only a new run, with a
new plan, can include this speaker.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from base.counts import count_of
from strategies import PopulationIndex
from strategies.round import RoundReport

NEXT_RUN = (
    "a new run includes them (set its model.seed to this run's model.safetensors and keep "
    "privacy.population-name: it then counts what this run has spent)"
)


class TooFewAnswers(RuntimeError):
    """Too few nodes answered a round: further rounds would spend budget and learn nothing."""


def require_answers(report: RoundReport, least: int) -> None:
    """Stop the run after a round in which fewer than `least` nodes answered.

    The model of such a round is noise alone, or nearly so. The round is released and spent all the same: to
    omit it or to draw it again because of who answered would make the release depend on more than the plan
    accounts for.

    Does the stop itself reveal anything about a person? It is a function of which nodes answered. So the
    question is whether the data of one speaker can prevent the answer of a node. On the node, work, memory
    and time are bounded for each speaker, by the speech of this speaker alone, and if the process dies, only
    the speaker who caused this loses the update. A node then fails to answer only because of its machine or
    its network. Under zero-out adjacency the same nodes are contacted, so the stop does not depend on the
    data of any one person. Under add-or-remove adjacency, a node whose only drawn speaker is this person is
    contacted in one of the two runs only. The stop then differs if exactly this answer decides, that is, if
    without it one answer is missing to `least`. The probability of this is at most the probability that the
    person is the only drawn speaker of a node in a round in which all but `least` - 1 of the other nodes
    fail. This residual is described in docs/privacy.md; it disappears where nodes hold so many speakers that
    a cohort rarely has only one of them.

    Raises:
        TooFewAnswers: If fewer than `least` nodes answered; where fewer than `least` were contacted, if not
            all of them answered.
    """
    if report.nodes_answered >= min(least, report.nodes_asked):
        return
    why = report.dropped[0] if report.dropped else None
    raise TooFewAnswers(
        f"{report.nodes_answered} of {report.nodes_asked} nodes answered in round {report.round_number}, "
        f"and training.min-answers = {least}"
        + (f" (node {why.node}: {why.reason})" if why else "")
        + ": reconnect the nodes and continue with run.resume, or set training.min-answers lower"
    )


class RepliesRefused(RuntimeError):
    """A simulation lost updates through an error of this program; the message shows the first."""


def require_none_refused(report: RoundReport) -> None:
    """Stop a simulation in which a reply did not pass the server's checks.

    The nodes of a simulation run our code on our tasks. Whatever their speech is, a reply answers a message
    of its round, repeats the labels of the task, and holds a sum of the right size within its bounds. So a
    refused reply is an error of this program, which loses updates. (The nodes of a deployment may lie, and
    their refused replies are only noted.) A node that failed (its worker died, its speech cannot be read) or
    was late counts as zero in a simulation too.

    The round is released and spent all the same, before this stop. The stop reveals nothing about anyone's
    speech: the checks test what the clip and the labels guarantee for all data, so no data makes an honest
    reply fail. (If that guarantee were false, epsilon would be false too.) Failures and silence can be caused
    by data, and this rule never stops a run for them.

    Raises:
        RepliesRefused: If a reply was refused.
    """
    refused = [drop for drop in report.dropped if drop.refused]
    if refused:
        raise RepliesRefused(
            f"the replies of {len(refused)} of {report.nodes_asked} simulated nodes were refused in round "
            f"{report.round_number} (node {refused[0].node}: {refused[0].reason}). This is an error of "
            "murmuration, not of the data: please report it with the config.toml of the run. The round is "
            "released and spent"
        )


class NodeChanges:
    """Compares the connected nodes after each round with the registered ones.

    Attributes:
        remarks: The remarks given at the start, then one for each change.
    """

    def __init__(self, population_index: PopulationIndex, remarks: Iterable[str] = ()) -> None:
        self._speakers = dict(zip(population_index.nodes, population_index.counts, strict=True))
        self._absent: set[int] = set()
        self._reported: set[int] = set()
        self.remarks: list[str] = [*remarks]

    def update(self, connected: Collection[int], changed: Collection[int]) -> list[str]:
        """Return one line for each change since the last call, and add these lines to `remarks`.

        Args:
            connected: The nodes that are connected now.
            changed: The nodes whose speech differs from what they registered.
        """
        absent = set(self._speakers) - set(connected)
        unregistered = set(connected) - set(self._speakers)
        new = [
            *(self._disconnected(node) for node in sorted(absent - self._absent)),
            *(f"node {node} is connected again" for node in sorted(self._absent - absent)),
            *(self._joined(node) for node in sorted(unregistered - self._reported)),
            *(self._changed(node) for node in sorted(set(changed) - self._reported)),
        ]
        self._absent = absent
        self._reported |= unregistered | set(changed)
        self.remarks += new
        return new

    def _disconnected(self, node: int) -> str:
        return f"node {node} is disconnected, so {count_of(self._speakers[node], 'speaker')} cannot take part"

    def _joined(self, node: int) -> str:
        return f"node {node} joined after registration: its speakers are never drawn; {NEXT_RUN}"

    def _changed(self, node: int) -> str:
        return (
            f"the speech of node {node} changed after registration: removed speakers count as zero, new "
            f"speakers are never drawn; {NEXT_RUN}"
        )
