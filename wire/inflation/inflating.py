"""Objects become a message only after their heads show that the message is within its allowance."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from flwr.app import Message

from .allowance import Allowance, InflationRefused
from .flower_objects import children_ids, inflate, inflate_empty

RECORDS = ("ArrayRecord", "ConfigRecord", "MetricRecord")
CHILDREN = {  # the kinds of objects that each kind may have below it
    "Message": ("RecordDict",),
    "RecordDict": RECORDS,
    "ArrayRecord": ("Array",),
    "Array": ("ArrayChunk",),
    "ArrayChunk": (),
    "ConfigRecord": (),
    "MetricRecord": (),
}
CHUNK = "ArrayChunk"
LONGEST_CHUNK_HEAD = 64  # bytes: a name, no children, a length


def inflate_within(root: str, contents: dict[str, bytes], allowance: Allowance) -> Message:
    """Build the message with the id `root` from its objects (id -> bytes), which are taken out of `contents`.

    Raises:
        InflationRefused: If the message is not within `allowance`, or the objects are not a message; nothing
            has been built then.
    """
    require_within(root, contents, allowance)
    return inflate(root, contents)


def require_within(root: str, contents: Mapping[str, bytes], allowance: Allowance) -> None:
    """Check the objects of a message without building anything.

    Raises:
        InflationRefused: If the message is not within `allowance`, or the objects are not a message.
    """
    try:
        heads = _heads(root, contents, allowance)
        arrays = 0
        for object_id, head in heads.items():
            if head.kind == "Array":
                arrays += _inflated_bytes(contents[object_id], head, heads)
    except InflationRefused:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InflationRefused(f"it is no message of Flower's ({type(error).__name__})") from None
    if arrays > allowance.array_bytes:
        raise InflationRefused(
            f"its arrays would take {arrays:,} bytes, at most {allowance.array_bytes:,} were asked for"
        )


def without_content(content: bytes) -> Message:
    """The message whose own object this is, without its records: an answer to it can state the refusal."""
    return inflate_empty(content)


@dataclass(frozen=True)
class _Head:
    """An object's kind, its children's ids and the number of bytes after its head."""

    kind: str
    children: tuple[str, ...]
    begin: int
    body_bytes: int

    @classmethod
    def of(cls, content: bytes, kind: str) -> _Head:
        most = LONGEST_CHUNK_HEAD if kind == CHUNK else len(content)
        begin = content.index(b"\0", 0, most) + 1
        return cls(kind, children_ids(content[:begin]), begin, len(content) - begin)


def _heads(root: str, contents: Mapping[str, bytes], allowance: Allowance) -> dict[str, _Head]:
    """The heads of all objects below `root`, each at the depth where its kind belongs."""
    heads: dict[str, _Head] = {}
    others = 0
    below: list[tuple[str, tuple[str, ...]]] = [(root, ("Message",))]
    while below:
        object_id, kinds = below.pop()
        content = contents[object_id]
        kind = next((one for one in kinds if content.startswith(one.encode() + b" ")), "")
        if not kind:
            raise InflationRefused(f"it has {bytes(content[:20])!r} where {' or '.join(kinds)} belongs")
        if object_id in heads:
            continue
        if kind != CHUNK:
            others += len(content)
            if others > allowance.other_bytes:
                raise InflationRefused(f"it has more than {allowance.other_bytes:,} bytes beside its arrays")
        heads[object_id] = head = _Head.of(content, kind)
        if head.children and not CHILDREN[kind]:
            raise InflationRefused(f"its {kind} has other objects below it")
        below.extend((child, CHILDREN[kind]) for child in head.children)
    return heads


def _inflated_bytes(content: bytes, head: _Head, heads: Mapping[str, _Head]) -> int:
    """The bytes that Flower makes from an Array's chunks, repeats included."""
    sizes = [heads[child].body_bytes for child in head.children]
    return sum(sizes[number] for number in _chunk_numbers(content[head.begin :]))


def _chunk_numbers(body: bytes) -> Iterator[int]:
    yield from json.loads(body.decode())["arraychunk_ids"]
