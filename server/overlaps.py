"""Checks that no speaker is in the population twice, and that none is held out or in the anchor corpus.

The server knows the digest of each node's corpus, the split and the part, and pseudonyms of the speakers
(`wire.pseudonyms`). It can compare the pseudonyms of two nodes that make them with the same key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from base.counts import count_of
from server.errors import RegistrationError
from wire.node_info import MOST_TOKENS, NodeInfo
from wire.pseudonyms import split_tokens


@dataclass(frozen=True, kw_only=True)
class HeldOutSpeakers:
    """The server's held-out speakers, as far as nodes can be compared with them.

    Attributes:
        dataset: Digest of their corpus.
        split: Their split.
        tokens: Their pseudonyms; empty where the recipe names no namespace, or allows shared speakers
            (`corpus.shared-speakers`).
    """

    dataset: str
    split: str
    tokens: frozenset[bytes] = frozenset()


@dataclass(frozen=True, kw_only=True)
class AnchorSpeakers:
    """The speakers of the anchor corpus (`server.anchor`), as far as nodes can be compared with them.

    Attributes:
        dataset: Digest of the corpus.
        split: Their split.
        apart: The splits of the corpus in which none of them is.
        tokens: Their pseudonyms, under the key of the corpus and, if the recipe names one, of the namespace.
        recorded: The number of speakers of a split of the server's own corpus who have recordings in the
            anchor corpus, of this split or of another, by its digest and the split; only splits that have
            any.
    """

    dataset: str
    split: str
    apart: frozenset[str] = frozenset()
    tokens: frozenset[bytes] = frozenset()
    recorded: Mapping[tuple[str, str], int] = field(default_factory=dict)


def require_nobody_twice(infos: Mapping[int, NodeInfo]) -> None:
    """Refuse nodes that share speakers: such a speaker could be drawn, and count in the sum, twice.

    Nodes with the same split must divide it into the same number of parts, no two nodes may hold the same
    part, and no two nodes may report the same pseudonym.

    Raises:
        RegistrationError: Naming two of the nodes, and the number of shared speakers or why it is not known.
    """
    first: dict[tuple[str, str], tuple[int, NodeInfo]] = {}
    owners: dict[tuple[tuple[str, str], int], int] = {}
    for node, info in sorted(infos.items()):
        before, same = first.setdefault(info.speech, (node, info))
        if info.parts != same.parts:
            raise RegistrationError(_same_part(before, same, node, info))
        if (owner := owners.setdefault((info.speech, info.part), node)) != node:
            raise RegistrationError(_same_part(owner, info, node, info))
    _require_comparable_splits(infos)
    _require_tokens_once(infos)


def _same_part(one: int, first: NodeInfo, other: int, second: NodeInfo) -> str:
    return (
        f"the run cannot start: nodes {one} and {other} hold the same speakers (of split {first.split!r} of "
        f"one corpus, part {first.part} of {first.parts} and part {second.part} of {second.parts}, counted "
        "from 0), who could be drawn twice: give each SuperNode its own partition-id below the same "
        "num-partitions, or its own corpus-path"
    )


def _require_comparable_splits(infos: Mapping[int, NodeInfo]) -> None:
    """Two splits of one corpus may share speakers: both nodes must send pseudonyms made with one key.

    To be comparable is transitive: it is enough to compare each node with one node of another split.
    """
    of_corpus: dict[str, list[tuple[int, NodeInfo]]] = {}
    for node, info in sorted(infos.items()):
        of_corpus.setdefault(info.dataset, []).append((node, info))
    for first, *more in of_corpus.values():
        if (other := next((one for one in more if one[1].split != first[1].split), None)) is None:
            continue
        for one in more:
            _require_comparable(other if one[1].split == first[1].split else first, one)


def _require_comparable(*both: tuple[int, NodeInfo]) -> None:
    (node, first), (other, second) = sorted(both, key=lambda one: one[0])
    if first.synthetic and second.synthetic:
        return
    if not (first.tokens and second.tokens) or first.namespace != second.namespace:
        raise RegistrationError(
            f"the run cannot start: nodes {node} and {other} hold the splits {first.split!r} and "
            f"{second.split!r} of one corpus, and the server cannot see whether a speaker is in both. Give "
            "both SuperNodes the same speaker-namespace or none, and at most "
            f"{MOST_TOKENS:,} speakers each; or give all nodes the same split"
        )


def _require_tokens_once(infos: Mapping[int, NodeInfo]) -> None:
    seen: dict[bytes, int] = {}
    for node, info in sorted(infos.items()):
        shared = Counter(
            owner for token in split_tokens(info.tokens) if (owner := seen.setdefault(token, node)) != node
        )
        if shared:
            owner, count = shared.most_common(1)[0]
            raise RegistrationError(
                f"the run cannot start: node {owner} and node {node} share {count_of(count, 'speaker')} (the "
                "same ids in one speaker-namespace, or in two splits of one corpus), who could be drawn "
                "twice; keep each speaker on one node and in one split"
            )


def require_nobody_held_out(infos: Mapping[int, NodeInfo], held_out_speakers: HeldOutSpeakers) -> None:
    """Refuse nodes with held-out speakers: the server evaluates on these speakers without noise.

    Raises:
        RegistrationError: Naming the first such node, and the remedy.
    """
    for node, info in sorted(infos.items()):
        if info.speech == (held_out_speakers.dataset, held_out_speakers.split):
            raise RegistrationError(
                f"the run cannot start: node {node} holds the held-out split {held_out_speakers.split!r} of "
                "the server's own corpus. Its speakers would be trained on, and their error rates would be "
                "shown without noise. Start its SuperNode with another corpus-split, or set another "
                "corpus.test-split"
            )
        if shared := held_out_speakers.tokens.intersection(split_tokens(info.tokens)):
            raise RegistrationError(
                f"the run cannot start: node {node} holds {count_of(len(shared), 'speaker')} of the held-out "
                f"split {held_out_speakers.split!r} too (the same ids in one speaker-namespace). Remove each "
                "such speaker from one of the two, or set corpus.shared-speakers = true: every table and "
                "model card then reports it"
            )


def require_nobody_in_anchor(infos: Mapping[int, NodeInfo], anchor: AnchorSpeakers) -> None:
    """Refuse nodes with speakers of the anchor corpus: the server trains on their speech without noise.

    `corpus.shared-speakers` changes nothing here: it is about error rates, and this is about the guarantee.

    Guarantee: no node passes that holds a split of the anchor corpus with a speaker of it, a speaker with the
    same pseudonym, or a split of the server's own corpus with a speaker who has a recording in it. Two
    corpora without a common namespace and without common recordings cannot be compared.

    Raises:
        RegistrationError: Naming the first such node, and the remedy.
    """
    for node, info in sorted(infos.items()):
        if reason := _in_anchor(info, anchor):
            raise RegistrationError(
                f"the run cannot start: node {node} {reason}. The server would train on their speech without "
                "noise, and no epsilon of this run would hold for them. Take another server.anchor-corpus or "
                "server.anchor-split, or start the SuperNode with other speech"
            )


def _in_anchor(info: NodeInfo, anchor: AnchorSpeakers) -> str:
    """What a node shares with the anchor corpus, in words; "" for nothing that can be seen."""
    split = info.split
    if info.dataset == anchor.dataset and split not in anchor.apart:
        return f"holds split {split!r} of the anchor corpus, which has speakers of its split {anchor.split!r}"
    if shared := anchor.tokens.intersection(split_tokens(info.tokens)):
        same = "(the same ids in one speaker-namespace)"
        return f"holds {count_of(len(shared), 'speaker')} of the anchor corpus {same}"
    if recorded := anchor.recorded.get(info.speech, 0):
        of_own = f"of the server's own split {split!r}"
        return f"holds {count_of(recorded, 'speaker')} with recordings in the anchor corpus, {of_own}"
    return ""
