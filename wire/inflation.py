"""What a message from elsewhere may take of memory: bounded before it is taken.

Flower sends a message as objects that name each other by their SHA-256, and makes Python objects of them in
`inflate`. There an Array repeats its chunks as often as it says: a megabyte that travels asks for terabytes.
Nothing of Flower bounds that, nor how many objects there are, how large each is or how they nest.

Guarantee: what `inflate_within` makes holds at most `array_bytes` bytes of arrays, in at most `other_bytes`
bytes of other objects (Python's own of these take up to some thirty times as much), nested as Flower nests
them and no deeper. `InflationRefused` is raised before more is made. While it is made, Flower holds up to
four times as much. What is pulled is counted as it comes (`Meter`), and the length of every answer of the
SuperLink or SuperNode is looked at before its body is read (`ResponseLimits`).

This file needs nothing of this program, so that what stands in front of Flower's ClientApp can load it alone
(`cli/approval/bounded_messages.py`): there, packages named as the app's must not be imported before the app.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import httpx
from flwr.app import Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_object_children_ids_from_object_content
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents, pull_objects

RECORDS = ("ArrayRecord", "ConfigRecord", "MetricRecord")
CHILDREN = {  # what each kind of object may have below it
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
SMALLEST_CHUNK = 1 << 20  # on average; Flower's are of 5 MiB, but for the last
REFUSED = 1_000  # code of the error that stands for such a message; not one of Flower's
FEW_OBJECTS = 64
NUMPY_HEADER = 4096  # bytes, far more than numpy writes in front of an array
ENVELOPE_BYTES = 64  # around an object that is pulled
TREE_NODE_BYTES = 100  # of an object's name where a message is announced


class InflationRefused(ValueError):
    """A message would take more than it may, or is none; says what it asked for, in one line."""


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """What a message may hold: bytes of arrays, with numpy's headers, and of all other objects.

    The latter grow a little with the arrays, whose chunks they name.
    """

    array_bytes: int
    record_bytes: int = 1 << 16

    def __post_init__(self) -> None:
        if min(self.array_bytes, self.record_bytes) < 0:
            raise ValueError(f"{self}: bytes are 0 or more")

    @classmethod
    def of_model(cls, parameters: int) -> Allowance:
        """What a node's model of so many parameters needs to come: the model and, with SCAFFOLD, as much
        again, and a task for some hundred thousand speakers."""
        return cls(array_bytes=2 * (4 * parameters + NUMPY_HEADER), record_bytes=1 << 20)

    @property
    def other_bytes(self) -> int:
        """Of all objects that are no chunks of arrays, as they travel."""
        return self.record_bytes + self.array_bytes // 4096

    @property
    def travelling_bytes(self) -> int:
        """Of all objects."""
        return self.array_bytes + self.other_bytes

    @property
    def objects(self) -> int:
        """How many there may be, chunks included."""
        return FEW_OBJECTS + self.array_bytes // SMALLEST_CHUNK

    @property
    def announcement_bytes(self) -> int:
        """Of the answer that names the objects of one message."""
        return (1 << 16) + TREE_NODE_BYTES * self.objects


# --- Pulling ---------------------------------------------------------------------------------------


def object_ids(tree: Any, allowance: Allowance) -> list[str]:
    """The different objects of an `ObjectTree`, its root first.

    Raises:
        InflationRefused: If it names more than `allowance.objects`, counted with repeats.
    """
    found: dict[str, None] = {}
    nodes, named = [tree], 1
    while nodes:
        node = nodes.pop()
        found[node.object_id] = None
        named += len(node.children)
        if named > allowance.objects:
            raise InflationRefused(f"it consists of more than {allowance.objects:,} objects")
        nodes.extend(node.children)
    return list(found)


class Meter:
    """Counts what is pulled of one message, from any thread."""

    def __init__(self, allowance: Allowance) -> None:
        self.left = self._most = allowance.travelling_bytes
        self._lock = Lock()

    def take(self, content: bytes) -> bytes:
        """`content`, which has been pulled. Raises `InflationRefused` if that is too much in all."""
        with self._lock:
            self.left -= len(content)
            if self.left < 0:
                raise InflationRefused(f"its objects have more than {self._most:,} bytes")
        return content


def pull_within(
    object_ids: Sequence[str], pull_object: Callable[[str], bytes], meter: Meter
) -> dict[str, bytes]:
    """Pull these objects, two at a time as Flower does, and count them."""
    contents: dict[str, bytes] = pull_objects(list(object_ids), lambda one: meter.take(pull_object(one)))
    return contents


class ResponseLimits:
    """How long an answer to a pull may be; set before each.

    A hook of an `httpx.Client`, which calls it before the body is read: an object of gigabytes is refused for
    what its header says.
    """

    def __init__(self) -> None:
        self.announcement = 0
        self.meter: Meter | None = None

    def install(self, client: httpx.Client) -> None:
        """Look at all answers that `client` gets from now on."""
        client.event_hooks["response"].append(self)

    def __call__(self, response: httpx.Response) -> None:
        """Raises `InflationRefused` where the answer is too long, or does not say how long it is."""
        if response.is_error:
            return
        if response.url.path.endswith("/pull-messages"):
            most, what = self.announcement, "it is announced"
        elif response.url.path.endswith("/pull-object") and self.meter:
            most, what = self.meter.left + ENVELOPE_BYTES, "an object of it comes"
        else:
            return
        told = response.headers.get("content-length", "")
        if "content-encoding" in response.headers or not told.isdecimal():
            raise InflationRefused(f"{what} in an unknown number of bytes, at most {most:,} are expected")
        if int(told) > most:
            raise InflationRefused(f"{what} in {int(told):,} bytes, at most {most:,} are expected")


# --- Inflating -------------------------------------------------------------------------------------


def inflate_within(root: str, contents: dict[str, bytes], allowance: Allowance) -> Message:
    """The message with the id `root` from its objects (id -> bytes), which are taken out of `contents`.

    Raises:
        InflationRefused: Before anything is made of a message that is not within `allowance`, or is none.
    """
    require_within(root, contents, allowance)
    return inflate_object_from_contents(root, contents)


def require_within(root: str, contents: Mapping[str, bytes], allowance: Allowance) -> None:
    """Raise `InflationRefused` unless `inflate_within` may be called."""
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
    """The message whose own object this is, with nothing in it: for an answer that says why."""
    children = dict.fromkeys(get_object_children_ids_from_object_content(content), RecordDict())
    return Message.inflate(content, children)


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
        children = get_object_children_ids_from_object_content(content[:begin])
        return cls(kind, tuple(children), begin, len(content) - begin)


def _heads(root: str, contents: Mapping[str, bytes], allowance: Allowance) -> dict[str, _Head]:
    """The heads of all objects below `root`, each as deep as its kind is."""
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
    """How many bytes an Array makes of its chunks, read as Flower reads it."""
    sizes = [heads[child].body_bytes for child in head.children]
    return sum(sizes[number] for number in _chunk_numbers(content[head.begin :]))


def _chunk_numbers(body: bytes) -> Iterator[int]:
    yield from json.loads(body.decode())["arraychunk_ids"]
