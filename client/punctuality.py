"""A node that is late keeps its answer: nobody would use it, and it would stay in the SuperLink's store.

How late it is, a node knows by two clocks, and the later one counts. Its own stopwatch tells since when it
has worked at a task; the task may have waited before. The date in the message tells when the server asked,
by the server's clock: where this host's is ahead, the node has as much less time (Flower's own check of a
reply's time is of the same kind), and where it is behind, the stopwatch remains.

An answer is of all drawn speakers of the node together, and so is its lateness: the server would not use a
late answer if it came. `server.planning` gives all of them the time that they may take.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import wraps

from flwr.app import Context, Message, RecordDict

from wire.deadlines import deadline_of
from wire.messages import problem

log = logging.getLogger("murmuration.client")

TOO_LATE = "its answer was ready after the round's deadline, and is not sent: its own log says more"

Handler = Callable[[Message, Context], RecordDict]


def punctual(handler: Handler) -> Handler:
    """`handler`, whose answer becomes a few words where the deadline of the question has passed meanwhile."""

    @wraps(handler)
    def answer(message: Message, context: Context) -> RecordDict:
        begun, asked = time.monotonic(), message.metadata

        def late() -> bool:
            worked, since_asked = time.monotonic() - begun, time.time() - asked.created_at
            return is_late(worked, since_asked, deadline_of(asked.ttl))

        if late():  # it waited here: the server would use nothing of it
            return problem(TOO_LATE)
        content = handler(message, context)
        return problem(TOO_LATE) if late() else content

    return answer


def is_late(worked: float, since_asked: float, deadline: float) -> bool:
    """Whether an answer comes after the deadline, of which the log then tells.

    Args:
        worked, since_asked (float): Seconds since the node began, and since the server asked: the latter by
            two hosts' clocks.
        deadline (float): Seconds that the server gives.
    """
    if max(worked, since_asked) <= deadline:
        return False
    cause = (
        "give it less to do (fewer speakers, local.steps), or the rounds more time "
        "(training.round-deadline-seconds)"
    )
    if worked <= deadline:
        cause = "an earlier task took the rest, or this host's clock is ahead of the server's: set it (NTP)"
    log.warning(
        "the answer is not sent: it was ready %.1f s after the question, by the clocks of server and node, "
        "and %.1f s after this node began; answers are sent within %g s. %s",
        *(since_asked, worked, deadline, cause),
    )
    return True
