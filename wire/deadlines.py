"""The times of a round: until when nodes reply, and until when server and SuperLink wait for it.

The SuperLink takes a reply as long as it knows the question, and no call deletes what it took after the last
look of the server's that it answered meanwhile (`strategies.superlink_replies`). So a node sends nothing
after the deadline (`client.punctuality`), and the question's own time, up to whose end the server looks, is
longer than that: what is under way at the deadline still arrives, and is used.
"""

from __future__ import annotations

LONGEST_SLACK_SECONDS = 15.0
SLACK_SHARE = 0.25  # of a deadline


def slack_seconds(deadline: float) -> float:
    """How long a reply that is sent at the deadline may be under way."""
    return min(LONGEST_SLACK_SECONDS, SLACK_SHARE * deadline)


def message_seconds(deadline: float) -> float:
    """A question's own time (ttl): how long the SuperLink knows it, and the server waits for replies."""
    return deadline + slack_seconds(deadline)


def deadline_of(message_seconds: float) -> float:
    """The deadline of which `message_seconds` made a message's time: all that a node is told of it."""
    return max(message_seconds / (1 + SLACK_SHARE), message_seconds - LONGEST_SLACK_SECONDS)
