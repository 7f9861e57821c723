"""What messages show to anyone who sees them: the tasks of nodes, and all of a reply except its sum.

A round's nonce and a data set's digest are names without meaning. Only their lengths are recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flwr.app import Message

from audit.trace import ReplySummary
from privacy import ClipBounds, Quantiser
from privacy.sums.packing import packed_bytes
from wire.messages import MODEL
from wire.traffic import array_bytes

NAMES = ("nonce", "dataset")
REPLY = frozenset({"sum", "answer", "packed", "version", "round", "layout", "count", *NAMES})
"""The records and fields that a reply may have."""


def tasks_sent(messages: Iterable[Message]) -> dict[int, tuple[object, ...]]:
    """Each node's message: its records, the bytes of the model, the time to live, the fields."""
    return {
        one.metadata.dst_node_id: (
            *sorted(one.content),
            sum(len(array.data) for array in one.content[MODEL].values()),
            one.metadata.ttl,
            *_fields(dict(one.content["task"])),
        )
        for one in messages
    }


def summary_of(reply: Message, bounds: ClipBounds, quantiser: Quantiser) -> ReplySummary:
    """What a reply shows; the length of its sum beside the length that its count decides."""
    if reply.has_error():
        return ReplySummary(outcome=f"error {reply.error.code}: {reply.error.reason}")
    answer = dict(reply.content["answer"])
    if "problem" in answer:
        return ReplySummary(outcome=f"problem: {answer['problem']}")
    packed = reply.content["sum"]["packed"]
    header = len(packed.data) - packed.shape[0]
    return ReplySummary(
        outcome="sum",
        fields=tuple(_fields(answer)),
        extra=frozenset({*reply.content, *answer, *reply.content["sum"]} - REPLY),
        size=array_bytes(reply.content),
        declared_size=header + packed_bytes(int(answer["count"]), bounds, quantiser),
    )


def _fields(config: Mapping[str, object]) -> Iterable[tuple[str, object]]:
    for name in sorted(config):
        yield name, len(str(config[name])) if name in NAMES else str(config[name])
