"""A Flower grid whose replies stream: each is handed over as it arrives and then let go.

Flower's own `send_and_receive` collects every reply of a round in a list, so the server's memory
grows with the cohort. This one is a generator over the same public calls (`push_messages`,
`pull_messages`); `Strategy.start` runs on it unchanged.

A node's bytes become objects when they are pulled: no more of them than the reply may have
(`wire.inflation`), and what they raise there would end the run, so it comes out as that node's failed
or refused reply instead; faults of the connection to the SuperLink remain exceptions. Messages that are not
answered in time are withdrawn (`strategies.superlink_replies`).

A SuperLink that is started anew has forgotten what was half handed over, and says so: it gets it once more.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

import httpx
from flwr.app import Error, Message, Metadata, RecordDict
from flwr.app.message import make_message
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError

from strategies.superlink_replies import AT_ONCE, reply_channel_of
from wire.allowances import reply_allowance
from wire.inflation import REFUSED, Allowance, InflationRefused

SHORTEST_PAUSE_SECONDS = 0.005
LONGEST_PAUSE_SECONDS = 0.5
WAIT_SHARE = 0.02  # a reply is found at most this share of the wait for it too late
LOOK_SHARE = 0.02  # looking takes at most this share of a processor
PUSHES = 5  # of one message, while the SuperLink forgets it half-way
UNREADABLE, NOT_SENT = 3, 5  # Flower's ErrorCode.MESSAGE_UNAVAILABLE and NODE_UNAVAILABLE
LAST_LOOK_SECONDS = (
    0.2  # for every `AT_ONCE` messages: before the SuperLink forgets them, to see what comes yet
)
LAST_LOOK_SHARE = 0.25  # of a message's time at most


@dataclass(frozen=True)
class _Asked:
    """A message that is under way, and what its reply may take, where that is minded."""

    metadata: Metadata
    allowance: Allowance | None


@dataclass(frozen=True)
class _Times:
    """In how many seconds the first and the last of some messages' own time (ttl) is over.

    And how many of them before that are for last looks.
    """

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
    """`grid`, with at most `window` messages under way at a time (0: all at once).

    A window keeps small what lies in this process, where the nodes are simulated in it. Nodes elsewhere that
    say nothing would fill it, and keep the others from being asked. `simulated` only says that they are.
    `allowance` says of a message what the reply to it may take.
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
        self._mail = reply_channel_of(grid)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterator[Message]:
        """Yield each reply once, until all have come, or `timeout` seconds or the messages' own time is over.

        For a message that could not be sent, the reply is an error (`NOT_SENT`); for one whose reply is
        larger than it may be, or none, `REFUSED`. Messages without a reply are withdrawn at the end.
        """
        queue = deque(messages)
        del messages  # what has been pushed is the grid's, and may go
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
            for message in self._pull(pending, list(pending), deadline):
                arrived = True
                yield message
                del message  # or it would be there beside the next
                last_arrival = time.monotonic()
            if pending and not arrived:
                waited, looked = time.monotonic() - last_arrival, time.thread_time() - began
                pause = pause_seconds(waited=waited, looked=looked)
                time.sleep(max(0.0, min(pause, deadline - time.monotonic())))
        if pending:
            asked = {one: known.allowance for one, known in pending.items()}
            came = self._mail.last_look(asked, min(began_at + times.last, given_up))
            yield from self._pull(pending, came)
        self._mail.withdraw(list(pending))

    def _push(self, queue: deque[Message], pending: dict[str, _Asked], window: int) -> Iterable[Message]:
        """Send what the window has room for; returns an error for each message that was not taken."""
        batch = [queue.popleft() for _ in range(min(len(queue), window - len(pending)))]
        allowed = [self._allowance(message) if self._mail.bounded else None for message in batch]
        taken = set(self._pushed(batch)) if batch else set()
        envelopes = [message.metadata for message in batch]
        pending.update(
            (one.message_id, _Asked(one, most))
            for one, most in zip(envelopes, allowed, strict=True)
            if one.message_id in taken
        )
        return [
            _failed(one, "the SuperLink took no message for it: is it still registered?", NOT_SENT)
            for one in envelopes
            if one.message_id not in taken
        ]

    def _pushed(self, batch: list[Message]) -> Iterable[str]:
        """The ids of the messages. One that is pushed again keeps its id, so no node sees it twice."""
        for _ in range(PUSHES - 1):
            try:
                return self._grid.push_messages(batch)  # type: ignore[no-any-return]
            except ObjectPushError:
                time.sleep(LONGEST_PAUSE_SECONDS)
        return self._grid.push_messages(batch)  # type: ignore[no-any-return]

    def _pull(
        self, pending: dict[str, _Asked], message_ids: Iterable[str], deadline: float = float("inf")
    ) -> Iterator[Message]:
        """One message id a call, so that one reply at a time is held; none is begun after `deadline`."""
        for message_id in message_ids:
            if time.monotonic() >= deadline:
                return
            for reply in self._replies_to(message_id, pending[message_id]):
                if pending.pop(message_id, None) is not None:
                    yield reply
                del reply

    def _replies_to(self, message_id: str, asked: _Asked) -> Iterable[Message]:
        """What came for one message; bytes that are no reply to it come out as an error of its node's."""
        try:
            replies = self._mail.pull(message_id, asked.allowance)
        except (httpx.HTTPError, ConnectionError):
            raise
        except InflationRefused as refusal:
            return [_failed(asked.metadata, f"the reply is refused: {refusal}", REFUSED)]
        except Exception as error:
            return [_failed(asked.metadata, f"the reply cannot be read ({type(error).__name__})")]
        strays = [reply for reply in replies if reply.metadata.reply_to_message_id != message_id]
        if strays:
            return [_failed(asked.metadata, "the reply says that it answers another message")]
        return replies

    # Everything else is the wrapped grid's.

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


def _failed(asked: Metadata, reason: str, code: int = UNREADABLE) -> Message:
    question = make_message(metadata=asked, content=RecordDict())  # the model in it may be gone by now
    return Message(Error(code=code, reason=reason), reply_to=question)


def pause_seconds(*, waited: float, looked: float) -> float:
    """How long to wait before looking again, after `waited` seconds without a reply.

    The server looks often where that is cheap (a simulation's messages lie in its own memory) and the next
    reply may be near, seldom where `looked` (processor seconds of the last look) or the wait itself is long.
    """
    wanted = max(SHORTEST_PAUSE_SECONDS, WAIT_SHARE * waited, looked / LOOK_SHARE)
    return min(wanted, LONGEST_PAUSE_SECONDS)
