"""A task whose drawn speakers several workers train, so that none is left with a long node at the end.

A node's sum is a sum of integers: added up from parts it is the same, to the bit, however the speakers are
divided. Each part is a task for the same node, whose rules hold for it as for the whole.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

import torch
from flwr.app import ConfigRecord, Context, Message, RecordDict

from privacy import ReplyRejected, accumulator_dtype, unpack
from wire.messages import Answer, Task, problem

log = logging.getLogger("murmuration.client")

TASK = "task"

Done = Callable[[Message, Context], None]


def divisible_speakers(message: Message) -> int:
    """How many speakers of a message may go to several workers; 0 if it is for one."""
    task = message.content.get(TASK)
    if not isinstance(task, ConfigRecord) or task["raw-metrics"]:
        return 0
    speakers = list(task["speakers"])
    return len(speakers) if len(set(speakers)) == len(speakers) else 0  # else the node has to refuse it


class DividedTask:
    """A task in parts.

    Guarantee: the answer is that of the undivided task, to the bit, if every part has an answer; else it is
    what the first part without one replied.

    Args:
        message: The task.
        make: Makes a message with the envelope of another, and other content.
        done: Called with the reply to the task, and the node's context, when the last part is answered.
    """

    def __init__(self, message: Message, make: Callable[[Message, RecordDict], Message], done: Done) -> None:
        self._message, self._make, self._done = message, make, done
        self._lock, self._open = threading.Lock(), 1
        self._replies: list[Message] = []

    def divide(self) -> None:
        """One of the parts becomes two."""
        with self._lock:
            self._open += 1

    def part(self, begin: int, end: int) -> Message:
        """The task for the speakers from `begin` to before `end`, in the order in which they are drawn."""
        task = self._message.content[TASK]
        speakers = list(task["speakers"])
        if (begin, end) == (0, len(speakers)):
            return self._message
        content = RecordDict(dict(self._message.content.items()))
        content[TASK] = ConfigRecord({**dict(task.items()), "speakers": speakers[begin:end]})
        return self._make(self._message, content)

    def answered(self, reply: Message, context: Context) -> None:
        """Take the reply to one of the parts."""
        with self._lock:
            self._open -= 1
            self._replies.append(reply)
            last = not self._open
        if last:
            self._done(joined(self._message, self._replies), context)


def joined(message: Message, replies: Sequence[Message]) -> Message:
    """The reply to a task from those to its parts."""
    if len(replies) == 1:
        return replies[0]
    answers = []
    for reply in replies:
        try:
            answers.append(Answer.from_message(reply))
        except ReplyRejected:
            return reply  # the server finds the same
    try:
        return Message(_sum(message, answers).to_record(), reply_to=message)
    except Exception as error:  # a worker's fault must not end the others' work
        log.exception("the parts of a task cannot be added")
        return Message(problem(f"{type(error).__name__} (the parts of a task)"), reply_to=message)


def _sum(message: Message, answers: Sequence[Answer]) -> Answer:
    task, _ = Task.from_message(message)
    total = torch.zeros(task.bounds.size, dtype=accumulator_dtype(len(task.speakers), task.quantiser))
    if sum(answer.count for answer in answers) != len(task.speakers):
        raise ValueError("the parts are not of all speakers")
    labels = {(answer.round_number, answer.nonce, answer.layout) for answer in answers}
    if labels != {(task.round_number, task.nonce, task.layout)}:
        raise ValueError("the parts are not of this task")
    for answer in answers:
        total += unpack(answer.packed, answer.count, task.bounds, task.quantiser)
    changed = [answer.dataset for answer in answers if answer.dataset != task.dataset]
    return Answer.of(task, total, dataset=(changed or [task.dataset])[0])
