"""The times of a round: until when nodes reply, the server waits, and the SuperLink knows the question.

No call deletes a reply that the SuperLink takes between the server's last look and the moment when it forgets
the question (`strategies.superlink_replies`). So a node sends nothing after the deadline
(`client.punctuality`), the server waits longer than that, so that what is under way at the deadline is used,
and the SuperLink knows the question for longer still: what comes after the wait is dropped in later rounds.
"""

from __future__ import annotations

LONGEST_SLACK_SECONDS = 15.0
SLACK_SHARE = 0.25  # of a deadline
LEAST_KNOWN_SECONDS = 60.0  # after the wait: a busy machine takes seconds for a call


def slack_seconds(deadline: float) -> float:
    """How long a reply that is sent at the deadline may be under way."""
    return min(LONGEST_SLACK_SECONDS, SLACK_SHARE * deadline)


def wait_seconds(deadline: float) -> float:
    """How long the server waits for replies."""
    return deadline + slack_seconds(deadline)


def message_seconds(deadline: float) -> float:
    """A question's own time (ttl): how long the SuperLink knows it.

    Twice the wait, or more. Not much more: a node that was away finds all withdrawn questions that are still
    known, and each costs it some seconds.
    """
    wait = wait_seconds(deadline)
    return wait + max(wait, LEAST_KNOWN_SECONDS)


def deadline_of(message_seconds: float) -> float:
    """The deadline of which `message_seconds` made a message's time: all that a node is told of it."""
    wait = min(message_seconds / 2, message_seconds - LEAST_KNOWN_SECONDS)
    return max(wait / (1 + SLACK_SHARE), wait - LONGEST_SLACK_SECONDS)
