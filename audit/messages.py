"""What messages show to whoever sees them: who is asked what, and all of a reply but its sum.

A round's nonce and a data set's digest are names without meaning; of these only the lengths are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flwr.app import Message

from audit.trace import Told
from privacy import ClipBounds, Quantiser
from privacy.sums.packing import packed_bytes
from wire.messages import MODEL
from wire.traffic import array_bytes

NAMES = ("nonce", "dataset")
REPLY = frozenset({"sum", "answer", "packed", "version", "round", "layout", "count", *NAMES})
"""All that a reply may hold: its records and their fields."""


def asked(messages: Iterable[Message]) -> dict[int, tuple[object, ...]]:
    """By node its message: the records, the bytes of the model, the life time, the fields."""
    return {
        one.metadata.dst_node_id: (
            *sorted(one.content),
            sum(len(array.data) for array in one.content[MODEL].values()),
            one.metadata.ttl,
            *_fields(dict(one.content["task"])),
        )
        for one in messages
    }


def told(reply: Message, bounds: ClipBounds, quantiser: Quantiser) -> Told:
    """What a reply shows; the length of its sum beside the one that its count alone decides."""
    if reply.has_error():
        return Told(outcome=f"error {reply.error.code}: {reply.error.reason}")
    answer = dict(reply.content["answer"])
    if "problem" in answer:
        return Told(outcome=f"problem: {answer['problem']}")
    packed = reply.content["sum"]["packed"]
    header = len(packed.data) - packed.shape[0]
    return Told(
        outcome="sum",
        fields=tuple(_fields(answer)),
        extra=frozenset({*reply.content, *answer, *reply.content["sum"]} - REPLY),
        size=array_bytes(reply.content),
        declared_size=header + packed_bytes(int(answer["count"]), bounds, quantiser),
    )


def _fields(config: Mapping[str, object]) -> Iterable[tuple[str, object]]:
    for name in sorted(config):
        yield name, len(str(config[name])) if name in NAMES else str(config[name])
