"""Messages as Flower's objects, made by hand: what a node that keeps to nothing can send."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_body

from tests.strategies import flower  # noqa: F401  messages can be made then


@dataclass(frozen=True)
class Forged:
    """An object, and those that its head names."""

    content: bytes
    children: tuple[Forged, ...] = ()

    @classmethod
    def of_kind(cls, kind: str, body: bytes, children: Sequence[Forged] = ()) -> Forged:
        names = ",".join(dict.fromkeys(child.object_id for child in children))
        return cls(f"{kind} {names} {len(body)}\0".encode() + body, tuple(children))

    @property
    def object_id(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def tree(self) -> ObjectTree:
        below = {child.object_id: child for child in self.children}
        return ObjectTree(object_id=self.object_id, children=[child.tree() for child in below.values()])

    def contents(self) -> dict[str, bytes]:
        """All objects by id, children first."""
        return {one.object_id: one.content for one in self._all()}

    def _all(self) -> Iterator[Forged]:
        for child in self.children:
            yield from child._all()
        yield self


def chunk(data: bytes) -> Forged:
    return Forged.of_kind("ArrayChunk", data)


def array(chunks: Sequence[Forged], numbers: Sequence[int] | None = None, shape=(1,), **more) -> Forged:
    """An array of `chunks`, which it repeats as `numbers` say."""
    body = {"dtype": "uint8", "shape": list(shape), "stype": "numpy.ndarray"}
    order = list(range(len(chunks))) if numbers is None else list(numbers)
    return Forged.of_kind("Array", json.dumps({**body, "arraychunk_ids": order, **more}).encode(), chunks)


def named(kind: str, objects: Mapping[str, Forged]) -> Forged:
    """A RecordDict or an ArrayRecord."""
    body = json.dumps({name: one.object_id for name, one in objects.items()}).encode()
    return Forged.of_kind(kind, body, list(objects.values()))


def config(**values) -> Forged:
    return Forged(ConfigRecord(values).deflate())


def as_message(question: Message, content: Forged | None) -> Forged:
    """The reply to `question` with this content."""
    body = get_object_body(Message(RecordDict(), reply_to=question).deflate(), Message)
    return Forged.of_kind("Message", body, [content] if content else [])


def reply(question: Message, records: Mapping[str, Forged]) -> Forged:
    return as_message(question, named("RecordDict", records))


def with_array(question: Message, one: Forged) -> Forged:
    """A reply in which `one` stands for the packed sum."""
    return reply(question, {"sum": named("ArrayRecord", {"packed": one}), "answer": config(version=5)})


def bomb(question: Message, *, chunk_bytes: int, repeats: int) -> Forged:
    """A reply of `chunk_bytes` and 3 bytes a repeat, which asks for `chunk_bytes` x `repeats`."""
    return with_array(question, array([chunk(bytes(chunk_bytes))], [0] * repeats))


def honest(message: Message) -> Forged:
    """A message as Flower itself sends it."""
    objects = get_all_nested_objects(message)
    made: dict[str, Forged] = {}
    for object_id, one in objects.items():  # children come first
        below = tuple(made[child] for child in (one.children or {}))
        made[object_id] = Forged(one.deflate(), below)
    return made[message.object_id]
