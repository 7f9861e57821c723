"""Replies as they come through a SuperLink, and messages that nobody answers any more.

`HttpGrid.pull_messages` takes whatever a node has sent into memory and waits, for hours if need be, until all
of it is there; and nothing of the public `Grid` takes a message back. So this is the one place that uses what
is behind it, the client of the SuperLink's Runtime API, with the same calls:

- `PullMessages` names what came in reply to a message; only one is asked for at a time, so that what a node
  sends costs no other node's reply. The SuperLink forgets the message and its reply then, but not their
  objects.
- `PullObject` gives one object.
- `ConfirmMessageReceived` deletes the objects of a message, unless other messages have them too. It is meant
  for what was received; for a message of our own that no node has fetched it does the same.

Guarantee: of a reply no more is taken than its allowance (`wire.inflation`). What is answered, refused
or withdrawn leaves no object in the SuperLink's store. A reply that comes after its message was withdrawn is
refused by the SuperLink if the message's time (ttl) is over by then, and else dropped at the next withdrawal.

What stays in the store until the end of the run, as no call names it any more: a reply that comes between the
last look that the SuperLink answers before the end of its message's time, and that end; and one whose
announcement is longer than any reply's can be, of which the SuperLink tells only once. To keep the former
rare, looks follow one another until the time is over, by the clock of this host: where the SuperLink's is
ahead, what comes in so many seconds is missed; and where the wait ends long before that time, so is what
comes after the last withdrawal before it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from flwr.app import Message
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, PullObjectRequest
from flwr.proto.runtime_pb2 import PullAppMessagesRequest
from flwr.serverapp import Grid
from flwr.superlink.grid import HttpGrid

from wire.inflation import (
    Allowance,
    InflationRefused,
    Meter,
    ResponseLimits,
    inflate_within,
    object_ids,
    pull_within,
)

AT_ONCE = 50  # messages that are asked after in one call, where their replies are not waited for
BETWEEN_LOOKS_SECONDS = 0.01
FORGOTTEN = 3  # Flower's ErrorCode.MESSAGE_UNAVAILABLE: the message's time is over
NOTHING = Allowance(array_bytes=0)


class ReplyChannel:
    """Replies as a grid gives them: of nodes in this process, whose messages are no bytes."""

    bounded = False  # whether `pull` minds allowances

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def pull(self, message_id: str, allowance: Allowance | None) -> list[Message]:
        """What came in reply to a message, if anything did."""
        return list(self._grid.pull_messages([message_id]))

    def last_look(self, asked: Mapping[str, Allowance | None], until: float = 0.0) -> list[str]:
        """To which of these messages replies have come, to be pulled; later ones are too late.

        Looks again until all have, or it is `until` (of `time.monotonic`), where looking costs no reply.
        """
        return list(asked)

    def withdraw(self, message_ids: Iterable[str]) -> None:
        """Wait no longer for replies to these messages."""


@dataclass
class _Announced:
    """A reply of which the SuperLink has told: its id, and those of its objects, first what is missed.

    Or why it is refused.
    """

    reply_id: str
    object_ids: list[str]
    refusal: InflationRefused | None = None
    forgotten: bool = False  # no reply: it says that there can be none any more

    @classmethod
    def of(cls, told: Any, tree: Any, allowance: Allowance) -> _Announced:
        reply_id = told.metadata.message_id
        try:
            return cls(reply_id, object_ids(tree, allowance), forgotten=told.error.code == FORGOTTEN)
        except InflationRefused as refusal:
            return cls(reply_id, [], refusal)


class _NotThere(Exception):
    """The SuperLink knows of the object, but has not got it yet."""


class SuperLinkChannel(ReplyChannel):
    """Replies that come through a SuperLink, within their allowances.

    A reply that is on its way is asked for again at the next look, from the object on that is missed; nothing
    of it is held meanwhile.
    """

    bounded = True

    def __init__(self, grid: HttpGrid) -> None:
        super().__init__(grid)
        self._limits = ResponseLimits()
        self._limited: Any = None
        self._announced: dict[str, _Announced] = {}
        self._open: set[str] = set()  # withdrawn, but a late reply may still reach the SuperLink

    def pull(self, message_id: str, allowance: Allowance | None) -> list[Message]:
        """The reply to a message, once all of it has reached the SuperLink, whose store then forgets both.

        Raises:
            InflationRefused: If the reply would take more than `allowance`, or is none. It is not there any
                more then.
        """
        if allowance is None:
            raise ValueError("replies that come through a SuperLink need an allowance")
        if message_id not in self._announced:
            self._announce({message_id: allowance})
        if (announced := self._announced.get(message_id)) is None:
            return []
        try:
            contents = self._contents(announced, allowance)
        except _NotThere:
            return []
        except InflationRefused:
            self._forget(message_id)
            raise
        self._forget(message_id)
        reply = inflate_within(announced.reply_id, contents, allowance)
        reply.metadata.__dict__["_message_id"] = announced.reply_id
        return [reply]

    def last_look(self, asked: Mapping[str, Allowance | None], until: float = 0.0) -> list[str]:
        """To which of these messages replies have come, to be pulled; later ones are too late.

        It has to be quick, so many are asked for at once: what one node announces can be too long for all of
        them, and those that came in the moments since the look before this are lost then. Where `until` is
        the end of the messages' time, the last of the looks is after it: the SuperLink forgets them then.
        """
        over = False
        while unknown := {one: most for one, most in asked.items() if most and one not in self._announced}:
            began = time.monotonic()
            for batch in _batches(list(unknown)):
                with suppress(InflationRefused):
                    self._announce({one: unknown[one] for one in batch})
            if over or began >= until:
                break
            left = until - time.monotonic()
            over = left <= BETWEEN_LOOKS_SECONDS
            time.sleep(max(0.0, min(left, BETWEEN_LOOKS_SECONDS)))
        return [one for one in asked if one in self._announced and not self._announced[one].forgotten]

    def withdraw(self, message_ids: Iterable[str]) -> None:
        """Take these messages, and what came in reply to them, out of the SuperLink's store."""
        still_open = {*message_ids} - set(self._announced)
        for message_id in message_ids:
            self._forget(message_id)
        before, self._open = self._open, set()
        for batch in _batches(sorted(before)):
            with suppress(InflationRefused):
                self._announce(dict.fromkeys(batch, NOTHING))
            self._open |= {one for one in batch if one not in self._announced}
            for message_id in batch:
                self._forget(message_id)
        self._open |= still_open

    def _announce(self, asked: Mapping[str, Allowance]) -> None:
        """Ask what came in reply to these messages: answers of nodes, or errors of the SuperLink's own.

        Raises:
            InflationRefused: If the SuperLink tells of more than they all may have; it has forgotten it then.
        """
        self._limits.announcement = sum(allowance.announcement_bytes for allowance in asked.values())
        told = self._client().PullMessages(PullAppMessagesRequest(message_ids=list(asked)))
        for message, tree in zip(told.messages_list, told.message_object_trees, strict=True):
            message_id = message.metadata.reply_to_message_id
            if message_id in asked:
                self._announced[message_id] = _Announced.of(message, tree, asked[message_id])

    def _contents(self, announced: _Announced, allowance: Allowance) -> dict[str, bytes]:
        """All objects of a reply: the one that is missed, or comes last, then two at a time, as Flower's."""
        if announced.refusal:
            raise announced.refusal
        self._limits.meter = meter = Meter(allowance)
        client, grid = self._client(), self._grid

        def pull(object_id: str) -> bytes:
            request = PullObjectRequest(node=grid.node, run_id=grid.run.run_id, object_id=object_id)
            answer = client.PullObject(request)
            if not answer.object_found:
                raise InflationRefused("its sender did not complete it")
            if not answer.object_available:
                announced.object_ids.remove(object_id)
                announced.object_ids.insert(0, object_id)
                raise _NotThere(object_id)
            content: bytes = answer.object_content
            return content

        first, *others = announced.object_ids
        return {first: meter.take(pull(first)), **pull_within(others, pull, meter)}

    def _forget(self, message_id: str) -> None:
        """Have the objects of a message and of its reply deleted."""
        announced = self._announced.pop(message_id, None)
        for object_id in (message_id, announced.reply_id if announced else ""):
            if object_id:
                self._client().ConfirmMessageReceived(
                    ConfirmMessageReceivedRequest(
                        node=self._grid.node, run_id=self._grid.run.run_id, message_object_id=object_id
                    )
                )

    def _client(self) -> Any:
        """The Runtime API's client, whose answers are limited from the first on."""
        client = self._grid._runtime_client
        if client is not self._limited:
            self._limits.install(client._client)
            self._limited = client
        return client


def _batches(message_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for begin in range(0, len(message_ids), AT_ONCE):
        yield message_ids[begin : begin + AT_ONCE]


def reply_channel_of(grid: Grid) -> ReplyChannel:
    """How replies come through `grid`."""
    return SuperLinkChannel(grid) if isinstance(grid, HttpGrid) else ReplyChannel(grid)
