"""Replies that come through a SuperLink, and messages whose replies the server no longer waits for.

`HttpGrid.pull_messages` takes whatever a node has sent into memory and waits, for hours if necessary, until
all of it is there; and the public `Grid` cannot take a message back. So this module uses the client of the
SuperLink's Runtime API behind the grid (`strategies.flower_seam`), with the same calls:

- `PullMessages` names what came in reply to a message. The server asks about one message at a time, so what
  one node sends cannot cost another node's reply. The SuperLink then forgets the message and its reply, but
  not their objects.
- `PullObject` gives one object.
- `ConfirmMessageReceived` deletes the objects of a message, unless other messages have them too. It is meant
  for received messages; for a message of the server that no node has fetched it does the same.

Guarantee: no more of a reply is taken than its allowance (`wire.inflation`). A message that is answered,
refused or withdrawn leaves no object in the SuperLink's store. The SuperLink refuses a reply that comes after
its message was withdrawn and after the message's time (ttl) is over. A reply that comes between the two is
dropped at the next withdrawal.

Three kinds of replies stay in the store until the end of the run, because no call names them any more: a
reply that comes after the last look that the SuperLink answers before the message's time is over; a reply
whose node counts as offline before the next look; and a reply with an announcement longer than any valid
reply's, because the SuperLink announces it only once. To keep the first kind rare, a message's time is
twice the server's wait or more, looks go on while the server waits for the next replies, and our nodes send
nothing after the deadline (`wire.deadlines`). A hostile node can still send one that stays: in that moment,
or with a time of its own that ends before it is fetched.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Event

from flwr.app import Message
from flwr.serverapp import Grid

from strategies.flower_seam import (
    MESSAGE_UNAVAILABLE,
    Announcement,
    RuntimeApi,
    delete_messages,
    is_simulation,
    is_superlink,
    on_reply,
    set_message_id,
)
from wire.inflation import (
    Allowance,
    InflationRefused,
    Meter,
    ResponseLimits,
    inflate_within,
    object_ids,
    pull_within,
)

AT_ONCE = 50  # messages in one call, where the server does not wait for their replies
BETWEEN_LOOKS_SECONDS = 0.01
NOTHING = Allowance(array_bytes=0)


class ReplyChannel:
    """Replies as the grid returns them: for nodes in this process, whose messages never become bytes.

    Example:
        >>> ReplyChannel.bounded, SuperLinkChannel.bounded
        (False, True)
    """

    bounded = False  # whether `pull` checks allowances

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def pull(self, message_id: str, allowance: Allowance | None) -> list[Message]:
        """The reply to a message, or an empty list if none has come."""
        return list(self._grid.pull_messages([message_id]))

    def look(self, asked: Collection[str]) -> list[str]:
        """Those of the messages `asked` whose replies may have come since the last look."""
        return list(asked)

    def wait(self, seconds: float) -> None:
        """Wait until the next look is due: after `seconds` at the latest."""
        time.sleep(seconds)

    def last_look(self, asked: Mapping[str, Allowance | None], until: float = 0.0) -> list[str]:
        """The messages whose replies have come and can be pulled; later replies are too late.

        A channel that can look without losing a reply looks again until all replies have come, or until
        `until` (a time of `time.monotonic`).
        """
        return list(asked)

    def withdraw(self, message_ids: Iterable[str]) -> None:
        """Stop to wait for replies to these messages."""

    def drop_late(self) -> None:
        """Drop what has come in reply to messages that were withdrawn."""


class ToldChannel(ReplyChannel):
    """Replies of nodes in this process: the server is told when one comes, and looks for no other."""

    def __init__(self, grid: Grid) -> None:
        super().__init__(grid)
        self._came: deque[str] = deque()
        self._told = Event()

    def tell(self, message_id: str) -> None:
        """Say that the reply to this message has come; on any thread."""
        self._came.append(message_id)
        self._told.set()

    def look(self, asked: Collection[str]) -> list[str]:
        """Those of the messages `asked` whose replies have come since the last look."""
        self._told.clear()
        came = [self._came.popleft() for _ in range(len(self._came))]
        return [one for one in dict.fromkeys(came) if one in asked]

    def wait(self, seconds: float) -> None:
        """Wait until a reply comes: `seconds` at most."""
        self._told.wait(seconds)

    def withdraw(self, message_ids: Iterable[str]) -> None:
        """Delete these messages: each has its round's model, and Flower would keep it to the end."""
        delete_messages(self._grid, message_ids)


@dataclass
class _Announced:
    """An announced reply: its id and the ids of its objects, first the one that is still missing.

    Or the reason why the reply is refused.
    """

    reply_id: str
    object_ids: list[str]
    refusal: InflationRefused | None = None
    forgotten: bool = False  # not a reply: the SuperLink reports that none can come any more

    @classmethod
    def of(cls, announcement: Announcement, allowance: Allowance) -> _Announced:
        reply_id, forgotten = announcement.reply_id, announcement.error_code == MESSAGE_UNAVAILABLE
        try:
            return cls(reply_id, object_ids(announcement.tree, allowance), forgotten=forgotten)
        except InflationRefused as refusal:
            return cls(reply_id, [], refusal)


class _NotThere(Exception):
    """The SuperLink knows the object, but has not received it yet."""


class SuperLinkChannel(ReplyChannel):
    """Replies that come through a SuperLink, within their allowances.

    An incomplete reply is pulled again at the next look, from its missing object on; nothing of it is kept in
    between.
    """

    bounded = True

    def __init__(self, grid: Grid) -> None:
        super().__init__(grid)
        self._limits = ResponseLimits()
        self._api = RuntimeApi(grid, self._limits)
        self._announced: dict[str, _Announced] = {}
        self._open: set[str] = set()  # withdrawn, but a late reply may still reach the SuperLink

    def pull(self, message_id: str, allowance: Allowance | None) -> list[Message]:
        """The reply to a message, once all of it has reached the SuperLink; the store then forgets both.

        Raises:
            InflationRefused: If the reply would take more than `allowance`, or is not a reply. The store has
                forgotten it then.
            ValueError: Without an allowance.
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
        set_message_id(reply, announced.reply_id)
        return [reply]

    def last_look(self, asked: Mapping[str, Allowance | None], until: float = 0.0) -> list[str]:
        """The messages whose replies have come and can be pulled; later replies are too late.

        To be quick, a look asks about many messages at once. If one node's announcement is too long for all
        of them, the replies of that call are lost: those that came since the look before it. If `until` is
        the end of the messages' time, the last look comes after it, when the SuperLink forgets the messages.
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
        """Delete these messages and their replies from the SuperLink's store."""
        still_open = {*message_ids} - set(self._announced)
        for message_id in message_ids:
            self._forget(message_id)
        self.drop_late()
        self._open |= still_open

    def drop_late(self) -> None:
        """Drop what has come in reply to messages that were withdrawn."""
        for batch in _batches(sorted(self._open)):
            with suppress(InflationRefused):
                self._announce(dict.fromkeys(batch, NOTHING))
            for message_id in self._announced.keys() & batch:
                self._open.discard(message_id)
                self._forget(message_id)

    def _announce(self, asked: Mapping[str, Allowance]) -> None:
        """Ask for the replies to these messages: answers of nodes, or errors of the SuperLink itself.

        Raises:
            InflationRefused: If the announcement is longer than all of these replies may have. The SuperLink
                does not repeat it.
        """
        self._limits.announcement = sum(allowance.announcement_bytes for allowance in asked.values())
        for one in self._api.announced(list(asked)):
            if one.answers in asked:
                self._announced[one.answers] = _Announced.of(one, asked[one.answers])

    def _contents(self, announced: _Announced, allowance: Allowance) -> dict[str, bytes]:
        """All objects of a reply: first the one that was missing, then two at a time, as Flower does."""
        if announced.refusal:
            raise announced.refusal
        self._limits.meter = meter = Meter(allowance)

        def pull(object_id: str) -> bytes:
            try:
                content = self._api.pull(object_id)
            except LookupError:
                raise InflationRefused("its sender did not complete it") from None
            if content is None:
                announced.object_ids.remove(object_id)
                announced.object_ids.insert(0, object_id)
                raise _NotThere(object_id)
            return content

        first, *others = announced.object_ids
        return {first: meter.take(pull(first)), **pull_within(others, pull, meter)}

    def _forget(self, message_id: str) -> None:
        """Delete the objects of a message and of its reply."""
        announced = self._announced.pop(message_id, None)
        both = (message_id, announced.reply_id if announced else "")
        self._api.delete(one for one in both if one)


def _batches(message_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for begin in range(0, len(message_ids), AT_ONCE):
        yield message_ids[begin : begin + AT_ONCE]


def reply_channel_of(grid: Grid) -> ReplyChannel:
    """The channel of the replies of `grid`."""
    if is_superlink(grid):
        return SuperLinkChannel(grid)
    told = ToldChannel(grid)
    return told if is_simulation(grid) and on_reply(grid, told.tell) else ReplyChannel(grid)
