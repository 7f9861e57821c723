"""Bounds on the bytes that a process pulls, before and while they arrive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

import httpx

from .allowance import Allowance, InflationRefused
from .flower_objects import pull_two_at_a_time

ENVELOPE_BYTES = 64  # around a pulled object


def object_ids(tree: Any, allowance: Allowance) -> list[str]:
    """The distinct object ids of an `ObjectTree`, its root first.

    Raises:
        InflationRefused: If the tree has more than `allowance.objects` nodes, repeats included.
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
    """Counts the pulled bytes of one message; any thread may use it."""

    def __init__(self, allowance: Allowance) -> None:
        self.left = self._most = allowance.travelling_bytes
        self._lock = Lock()

    def take(self, content: bytes) -> bytes:
        """Count `content`, which has been pulled, and return it.

        Raises:
            InflationRefused: If all pulled bytes together exceed the allowance.
        """
        with self._lock:
            self.left -= len(content)
            if self.left < 0:
                raise InflationRefused(f"its objects have more than {self._most:,} bytes")
        return content


def pull_within(
    object_ids: Sequence[str], pull_object: Callable[[str], bytes], meter: Meter
) -> dict[str, bytes]:
    """Pull these objects, two at a time as Flower does, and count them."""
    return pull_two_at_a_time(object_ids, lambda one: meter.take(pull_object(one)))


class ResponseLimits:
    """Limits on the length of answers to a pull; the caller sets them before each pull.

    It is a hook of an `httpx.Client`, which calls it before it reads the body: an object of gigabytes is
    refused by the length in its header.
    """

    def __init__(self) -> None:
        self.announcement = 0
        self.meter: Meter | None = None

    def install(self, client: httpx.Client) -> None:
        """Check all answers that `client` receives from now on."""
        client.event_hooks["response"].append(self)

    def __call__(self, response: httpx.Response) -> None:
        """Check one answer.

        Raises:
            InflationRefused: If the answer is too long, or its header does not state its length.
        """
        if response.is_error:
            return
        if response.url.path.endswith("/pull-messages"):
            most, what = self.announcement, "it is announced"
        elif response.url.path.endswith("/pull-object") and self.meter:
            most, what = self.meter.left + ENVELOPE_BYTES, "an object of it comes"
        else:
            return
        length = response.headers.get("content-length", "")
        if "content-encoding" in response.headers or not length.isdecimal():
            raise InflationRefused(f"{what} in an unknown number of bytes, at most {most:,} are expected")
        if int(length) > most:
            raise InflationRefused(f"{what} in {int(length):,} bytes, at most {most:,} are expected")
