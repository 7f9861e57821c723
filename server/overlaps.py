"""Who may not be in a population: people who are in it already, and people whom the server measures on.

The server knows of a node's people the digest of their corpus, the split, the part, and pseudonyms
(`wire.pseudonyms`), which it can compare where two nodes make them with the same key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from server.errors import RegistrationError
from wire.node_info import MOST_TOKENS, NodeInfo
from wire.pseudonyms import split_tokens


@dataclass(frozen=True, kw_only=True)
class HeldOutSpeakers:
    """The held-out speakers: the digest of their corpus, their split, and their tokens under a namespace.

    `tokens` are empty where the server was told no namespace, or may share people (`corpus.shared-speakers`).
    """

    dataset: str
    split: str
    tokens: frozenset[bytes] = frozenset()


def require_nobody_twice(answers: Mapping[int, NodeInfo]) -> None:
    """Refuse nodes that share people, each of whom would be drawn, and add to the sum, twice.

    Parts of one whole must be cut alike, no two nodes may hold the same one, and no token may come from two.

    Raises:
        RollCallError: Naming two of the nodes, and how many people they share or why that cannot be known.
    """
    first: dict[tuple[str, str], tuple[int, NodeInfo]] = {}
    owners: dict[tuple[tuple[str, str], int], int] = {}
    for node, held in sorted(answers.items()):
        before, same = first.setdefault(held.speech, (node, held))
        if held.parts != same.parts:
            raise RegistrationError(_same_part(before, same, node, held))
        if (owner := owners.setdefault((held.speech, held.part), node)) != node:
            raise RegistrationError(_same_part(owner, held, node, held))
    _require_comparable_splits(answers)
    _require_tokens_once(answers)


def _same_part(one: int, its: NodeInfo, other: int, others: NodeInfo) -> str:
    return (
        f"the run cannot start: nodes {one} and {other} hold the same speakers (of split {its.split!r} of "
        f"one corpus, part {its.part} of {its.parts} and {others.part} of {others.parts}, counted from 0), "
        "who would be drawn twice: give each SuperNode a partition-id of its own below the same "
        "num-partitions, or a corpus-path of its own"
    )


def _require_comparable_splits(answers: Mapping[int, NodeInfo]) -> None:
    """Two splits of one corpus may hold the same people: their tokens must be there, and of one key.

    Comparable is transitive: to compare each node with one of another split compares all.
    """
    of_corpus: dict[str, list[tuple[int, NodeInfo]]] = {}
    for node, held in sorted(answers.items()):
        of_corpus.setdefault(held.dataset, []).append((node, held))
    for first, *more in of_corpus.values():
        other = next((one for one in more if one[1].split != first[1].split), None)
        for one in more if other else ():
            _require_comparable(other if one[1].split == first[1].split else first, one)


def _require_comparable(*both: tuple[int, NodeInfo]) -> None:
    (node, held), (other, its) = sorted(both, key=lambda one: one[0])
    if held.synthetic and its.synthetic:
        return
    if not (held.tokens and its.tokens) or held.namespace != its.namespace:
        raise RegistrationError(
            f"the run cannot start: nodes {node} and {other} hold the splits {held.split!r} and "
            f"{its.split!r} of one corpus, and whether a person is in both cannot be seen: give both "
            "SuperNodes the same speaker-namespace, or none (and no node more than "
            f"{MOST_TOKENS:,} speakers), or one split to all nodes"
        )


def _require_tokens_once(answers: Mapping[int, NodeInfo]) -> None:
    seen: dict[bytes, int] = {}
    for node, held in sorted(answers.items()):
        shared = Counter(
            owner for token in split_tokens(held.tokens) if (owner := seen.setdefault(token, node)) != node
        )
        if shared:
            owner, count = shared.most_common(1)[0]
            raise RegistrationError(
                f"the run cannot start: {count} speakers are on node {owner} and on node {node} (the same "
                "ids in one speaker-namespace, or in two splits of one corpus): each would be drawn twice; "
                "give each person to one node, and each speaker to one split"
            )


def require_nobody_held_out(answers: Mapping[int, NodeInfo], held_out_speakers: HeldOutSpeakers) -> None:
    """Refuse nodes that would train on the people on whom the server measures, without noise.

    Raises:
        RollCallError: Naming the first of them, and the remedy.
    """
    for node, held in sorted(answers.items()):
        if held.speech == (held_out_speakers.dataset, held_out_speakers.split):
            raise RegistrationError(
                f"the run cannot start: node {node} holds the held-out split {held_out_speakers.split!r} of "
                "the server's own corpus. Un-noised error rates of these speakers would be error rates of "
                "speakers who are trained. Start its SuperNode with another corpus-split, or set another "
                "corpus.test-split"
            )
        if shared := held_out_speakers.tokens.intersection(split_tokens(held.tokens)):
            raise RegistrationError(
                f"the run cannot start: {len(shared)} speakers of node {node} are held-out speakers of split "
                f"{held_out_speakers.split!r} too (the same ids in one speaker-namespace). Give each speaker "
                "to one of them, or set corpus.shared-speakers = true: every table and card then says so"
            )
