"""A Flower grid with streaming replies: each is handed over when it arrives, and then released.

Flower's own `send_and_receive` collects every reply of a round in a list, so the server's memory grows with
the cohort. This one is a generator over the same public calls (`push_messages`, `pull_messages`), and
`Strategy.start` runs on it unchanged.

A node's bytes become objects when they are pulled. No more of them are taken than the reply may have
(`wire.inflation`). An error that they raise there would end the run; instead it becomes that node's failed or
refused reply. Faults of the connection to the SuperLink remain exceptions. Messages without an answer in time
are withdrawn (`strategies.superlink_replies`).

A reply that comes into this process's own memory wakes the server; for others it looks, less and less often.

A SuperLink that restarts has forgotten messages that were only partly pushed, and reports it: the grid pushes
them again.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

import httpx
from flwr.app import Message, Metadata, RecordDict
from flwr.serverapp import Grid

from strategies.flower_seam import MESSAGE_UNAVAILABLE, NODE_UNAVAILABLE, ObjectPushError, error_reply
from strategies.superlink_replies import AT_ONCE, reply_channel_of
from wire.allowances import reply_allowance
from wire.inflation import REFUSED, Allowance, InflationRefused

SHORTEST_PAUSE_SECONDS = 0.005
LONGEST_PAUSE_SECONDS = 0.5
WAIT_SHARE = 0.02  # a reply is found late by at most this share of the wait for it
LOOK_SHARE = 0.02  # the looks take at most this share of a processor
PUSHES = 5  # attempts to push a message that the SuperLink forgets half-way
UNREADABLE, NOT_SENT = MESSAGE_UNAVAILABLE, NODE_UNAVAILABLE
LAST_LOOK_SECONDS = 0.2  # for each `AT_ONCE` messages: time for last looks before the SuperLink forgets them
LAST_LOOK_SHARE = 0.25  # at most this share of a message's time


@dataclass(frozen=True)
class _Asked:
    """A message that waits for its reply, and the reply's allowance if the channel checks it."""

    metadata: Metadata
    allowance: Allowance | None


@dataclass(frozen=True)
class _Times:
    """Seconds until the first and the last of some messages expire (ttl), and seconds for last looks."""

    first: float
    last: float
    looks: float

    @classmethod
    def of(cls, messages: Collection[Message]) -> _Times:
        now = time.time()
        left = [one.metadata.created_at + one.metadata.ttl - now for one in messages] or [0.0]
        shortest = min((one.metadata.ttl for one in messages), default=0.0)
        looks = LAST_LOOK_SECONDS * math.ceil(len(messages) / AT_ONCE)
        return cls(min(left), max(left), min(looks, LAST_LOOK_SHARE * shortest))


class StreamingGrid(Grid):  # type: ignore[misc]  # flwr is untyped for us
    """`grid` with streaming replies.

    Args:
        grid: Flower's grid.
        window: The number of messages that may wait for replies at a time; 0 sends all at once. A window
            keeps memory small where the nodes are simulated in this process. In a deployment use 0: silent
            nodes would fill the window, and the others would get no message.
        simulated: Whether the nodes are simulated; only kept, for the caller.
        allowance: The size that the reply to a message may have.

    Example:
        >>> from unittest.mock import create_autospec
        >>> grid = StreamingGrid(create_autospec(Grid, instance=True), window=8)
        >>> list(grid.send_and_receive([], timeout=1.0))
        []
    """

    def __init__(
        self,
        grid: Grid,
        *,
        window: int = 0,
        simulated: bool = False,
        allowance: Callable[[Message], Allowance] = reply_allowance,
    ) -> None:
        self._grid = grid
        self._window = window
        self.simulated = simulated
        self._allowance = allowance
        self._channel = reply_channel_of(grid)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterator[Message]:
        """Yield each reply once.

        It ends when all replies have come, after `timeout` seconds, or when the messages have expired.
        A message that could not be sent gets an error as its reply (`NOT_SENT`). A reply that is larger than
        its allowance, or is not a reply, becomes the error `REFUSED`. Messages without a reply are withdrawn
        at the end.
        """
        queue = deque(messages)
        del messages  # pushed messages belong to the grid, which may release them
        window = self._window or len(queue)
        began_at, times = time.monotonic(), _Times.of(queue)
        looks_from = began_at + times.first - times.looks
        given_up = began_at + (math.inf if timeout is None else timeout)
        deadline = min(looks_from, given_up)
        pending: dict[str, _Asked] = {}
        last_arrival = time.monotonic()
        while (queue or pending) and time.monotonic() < deadline:
            began = time.thread_time()
            yield from self._push(queue, pending, window)
            arrived = False
            for message in self._pull(pending, self._channel.look(pending), deadline):
                arrived = True
                yield message
                del message  # or it would stay in memory beside the next
                last_arrival = time.monotonic()
            if pending and not arrived:
                self._channel.drop_late()
                waited, looked = time.monotonic() - last_arrival, time.thread_time() - began
                pause = pause_seconds(waited=waited, looked=looked)
                self._channel.wait(max(0.0, min(pause, deadline - time.monotonic())))
        if pending:
            asked = {one: known.allowance for one, known in pending.items()}
            came = self._channel.last_look(asked, min(began_at + times.last, given_up))
            yield from self._pull(pending, came)
        self._channel.withdraw(list(pending))

    def _push(self, queue: deque[Message], pending: dict[str, _Asked], window: int) -> Iterable[Message]:
        """Send as many messages as the window has room for; return an error for each refused one."""
        batch = [queue.popleft() for _ in range(min(len(queue), window - len(pending)))]
        allowed = [self._allowance(message) if self._channel.bounded else None for message in batch]
        taken = set(self._pushed(batch)) if batch else set()
        envelopes = [message.metadata for message in batch]
        pending.update(
            (one.message_id, _Asked(one, most))
            for one, most in zip(envelopes, allowed, strict=True)
            if one.message_id in taken
        )
        return [
            error_reply(one, "the SuperLink took no message for it: is it still registered?", NOT_SENT)
            for one in envelopes
            if one.message_id not in taken
        ]

    def _pushed(self, batch: list[Message]) -> Iterable[str]:
        """Push the messages and return the ids of those that the SuperLink took.

        A message that is pushed again keeps its id, so no node sees it twice. If their time ends on the way,
        which a SuperLink answers with HTTP 500, no ids are returned.
        """
        for attempt in range(PUSHES):
            try:
                return self._grid.push_messages(batch)  # type: ignore[no-any-return]
            except ObjectPushError:
                if attempt == PUSHES - 1:
                    raise
                time.sleep(LONGEST_PAUSE_SECONDS)
            except httpx.HTTPStatusError:
                if _Times.of(batch).first > 0:
                    raise
                break
        return []

    def _pull(
        self, pending: dict[str, _Asked], message_ids: Iterable[str], deadline: float = float("inf")
    ) -> Iterator[Message]:
        """Pull one reply per call, so that one is in memory at a time; begin none after `deadline`."""
        for message_id in message_ids:
            if time.monotonic() >= deadline:
                return
            for reply in self._replies_to(message_id, pending[message_id]):
                if pending.pop(message_id, None) is not None:
                    yield reply
                del reply

    def _replies_to(self, message_id: str, asked: _Asked) -> Iterable[Message]:
        """The reply to one message; bytes that are not a reply to it become an error of its node."""
        try:
            replies = self._channel.pull(message_id, asked.allowance)
        except (httpx.HTTPError, ConnectionError):
            raise
        except InflationRefused as refusal:
            return [error_reply(asked.metadata, f"the reply is refused: {refusal}", REFUSED)]
        except Exception as error:
            reason = f"the reply cannot be read ({type(error).__name__})"
            return [error_reply(asked.metadata, reason, UNREADABLE)]
        strays = [reply for reply in replies if reply.metadata.reply_to_message_id != message_id]
        if strays:
            return [
                error_reply(asked.metadata, "the reply states that it answers another message", UNREADABLE)
            ]
        return replies

    # All other methods are those of the wrapped grid.

    def set_run(self, run: object) -> None:
        """See `flwr.serverapp.Grid`."""
        self._grid.set_run(run)

    @property
    def run(self) -> object:
        """See `flwr.serverapp.Grid`."""
        return self._grid.run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """See `flwr.serverapp.Grid`."""
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Iterable[int]:
        """See `flwr.serverapp.Grid`."""
        return self._grid.get_node_ids()  # type: ignore[no-any-return]

    def get_nodes(self) -> Iterable[object]:
        """See `flwr.serverapp.Grid`."""
        return self._grid.get_nodes()  # type: ignore[no-any-return]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """See `flwr.serverapp.Grid`."""
        return self._grid.push_messages(messages)  # type: ignore[no-any-return]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """See `flwr.serverapp.Grid`."""
        return self._grid.pull_messages(message_ids)  # type: ignore[no-any-return]


def pause_seconds(*, waited: float, looked: float) -> float:
    """The seconds to wait before the next look, after `waited` seconds without a reply.

    The server looks often while a look is cheap (a simulation's messages lie in its own memory) and the next
    reply may be near. It looks rarely if the last look took long (`looked`, processor seconds), or if the
    wait is already long.

    Example:
        >>> pause_seconds(waited=10.0, looked=0.0), pause_seconds(waited=0.0, looked=0.002)
        (0.2, 0.1)
    """
    wanted = max(SHORTEST_PAUSE_SECONDS, WAIT_SHARE * waited, looked / LOOK_SHARE)
    return min(wanted, LONGEST_PAUSE_SECONDS)
