"""The times of a round: until when nodes reply, the server waits, and the SuperLink knows the question.

They follow one another, `slack_seconds` apart. The SuperLink takes a reply as long as it knows the question,
and no call deletes what it took after the server's last look (`strategies.superlink_replies`). So a node
sends nothing after the deadline (`client.punctuality`), the server looks for the last time when what was sent
before it has arrived, and only then does the SuperLink forget the question.
"""

from __future__ import annotations

LONGEST_SLACK_SECONDS = 15.0
SLACK_SHARE = 0.125  # of a deadline


def slack_seconds(deadline: float) -> float:
    """How long a reply that is sent at the deadline may take to reach the SuperLink and be used."""
    return min(LONGEST_SLACK_SECONDS, SLACK_SHARE * deadline)


def wait_seconds(deadline: float) -> float:
    """How long the server waits for replies."""
    return deadline + slack_seconds(deadline)


def message_seconds(deadline: float) -> float:
    """How long the SuperLink knows the question: the message's own time (ttl)."""
    return deadline + 2 * slack_seconds(deadline)


def deadline_of(message_seconds: float) -> float:
    """The deadline of which `message_seconds` made a message's time: all that a node is told of it."""
    return max(message_seconds / (1 + 2 * SLACK_SHARE), message_seconds - 2 * LONGEST_SLACK_SECONDS)
