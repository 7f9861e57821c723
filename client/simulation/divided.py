"""A task whose drawn speakers several workers train, so that none is left with a long node at the end.

A node's sum is a sum of integers: added up from parts it is the same, to the bit, however the speakers are
divided. Each part is a task for the same node, whose rules hold for it as for the whole.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import cast

import torch
from flwr.app import ConfigRecord, Context, Message, RecordDict

from privacy import ReplyRejected, accumulator_dtype, unpack
from wire.hosting import is_for_a_host
from wire.messages import Answer, Task, problem

log = logging.getLogger("murmuration.client")

TASK = "task"

Done = Callable[[Message, Context], None]


def divisible_speakers(message: Message) -> int:
    """How many speakers of a message may go to several workers; 0 if it is for one."""
    task = message.content.get(TASK)
    if not isinstance(task, ConfigRecord) or task["raw-metrics"] or is_for_a_host(message):
        return 0
    speakers = list(task["speakers"])
    return len(speakers) if len(set(speakers)) == len(speakers) else 0  # else the node has to refuse it


class DividedTask:
    """A task in parts, whose sums are added as they come.

    Guarantee: the answer is that of the undivided task, to the bit, if every part has an answer; else it is
    what the first part without one replied.

    Args:
        message: The task.
        make: Makes a message with the envelope of another, and other content.
        done: Called with the reply to the task, and the node's context, when the last part is answered.
    """

    def __init__(self, message: Message, make: Callable[[Message, RecordDict], Message], done: Done) -> None:
        self._message, self._make, self._done = message, make, done
        self._lock, self._open, self._divided = threading.Lock(), 1, False
        self._adding = threading.Lock()  # takes long with a large model: who divides does not wait for it
        self._reply: Message | None = None  # of an undivided task, or of the first part without an answer
        self._sum: _Sum | None = None

    def divide(self) -> None:
        """One of the parts becomes two; to be called before it is answered."""
        with self._lock:
            self._open, self._divided = self._open + 1, True

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
        with self._adding:
            with self._lock:
                self._open -= 1
                last = not self._open
            if not self._divided:
                self._reply = reply
            elif self._reply is None:
                self._reply = self._taken(reply, last=last)
        if last:
            self._done(cast(Message, self._reply), context)

    def _taken(self, reply: Message, *, last: bool) -> Message | None:
        """Add a part's answer; return the reply to the task once it is known."""
        try:
            answer = Answer.from_message(reply)
        except ReplyRejected:
            return reply  # the server finds the same
        try:
            self._sum = self._sum or _Sum(self._message)
            self._sum.add(answer)
            return Message(self._sum.answer().to_record(), reply_to=self._message) if last else None
        except Exception as error:  # a worker's fault must not end the others' work
            log.exception("the parts of a task cannot be added")
            return Message(problem(f"{type(error).__name__} (the parts of a task)"), reply_to=self._message)


class _Sum:
    """The sum over the speakers of the parts that are answered."""

    def __init__(self, message: Message) -> None:
        self._task, _ = Task.from_message(message)
        self._total = torch.zeros(
            self._task.bounds.size, dtype=accumulator_dtype(len(self._task.speakers), self._task.quantiser)
        )
        self._count, self._dataset = 0, self._task.dataset

    def add(self, answer: Answer) -> None:
        """Add a part's sum. Raises `ValueError` if it is of another task."""
        task = self._task
        if (answer.round_number, answer.nonce, answer.layout) != (task.round_number, task.nonce, task.layout):
            raise ValueError("a part is not of this task")
        self._total += unpack(answer.packed, answer.count, task.bounds, task.quantiser)
        self._count += answer.count
        if answer.dataset != task.dataset:  # else the server would not learn of it
            self._dataset = answer.dataset

    def answer(self) -> Answer:
        """The answer to the whole task. Raises `ValueError` if speakers are missing."""
        if self._count != len(self._task.speakers):
            raise ValueError("the parts are not of all speakers")
        return Answer.of(self._task, self._total, dataset=self._dataset)
