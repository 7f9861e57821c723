"""The names of Flower's object format that no release promises to keep; nothing else in `wire/` uses any.

`tests/test_flower_names.py` lists them. A release of Flower that moves one of them is a change here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flwr.app import Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_object_children_ids_from_object_content
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents, pull_objects

__all__ = ["children_ids", "inflate", "inflate_empty", "pull_two_at_a_time"]


def children_ids(content: bytes) -> tuple[str, ...]:
    """The ids of the objects below an object, read from its own bytes (its head is enough)."""
    return tuple(get_object_children_ids_from_object_content(content))


def inflate(root: str, contents: dict[str, bytes]) -> Message:
    """The message with the id `root`, built from its objects (id -> bytes), which are taken out."""
    return inflate_object_from_contents(root, contents)


def inflate_empty(content: bytes) -> Message:
    """The message whose own object is `content`, with an empty record dict."""
    return Message.inflate(content, dict.fromkeys(children_ids(content), RecordDict()))


def pull_two_at_a_time(ids: Sequence[str], pull: Callable[[str], bytes]) -> dict[str, bytes]:
    """Pull these objects in Flower's two threads."""
    contents: dict[str, bytes] = pull_objects(list(ids), pull)
    return contents
