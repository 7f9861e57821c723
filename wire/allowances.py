"""How large a reply may be: a function of what the node was asked, and of nothing that it says."""

from __future__ import annotations

from functools import lru_cache

from flwr.app import ConfigRecord, Message

from privacy import packed_bytes
from wire.inflation import NUMPY_HEADER, Allowance
from wire.messages import Task
from wire.node_info import MOST_TOKENS
from wire.pseudonyms import TOKEN_BYTES
from wire.records import find_record
from wire.traffic import array_bytes

REGISTRATION = Allowance(array_bytes=0, record_bytes=MOST_TOKENS * TOKEN_BYTES + (1 << 16))


def reply_allowance(message: Message) -> Allowance:
    """What the reply to `message` may take.

    To a task: the packed sum of as many speakers, and as much again as was sent beside the model (SCAFFOLD's
    control variates). To the roll call: the tokens of the most speakers of whom a node gives any. To anything
    else: the arrays of the message itself.
    """
    if find_record(message.content, "query", ConfigRecord) is not None:
        return REGISTRATION
    sent = array_bytes(message.content)
    if find_record(message.content, "task", ConfigRecord) is None:
        return Allowance(array_bytes=sent)
    task, vector = Task.from_message(message)
    beside = sent - vector.nbytes
    packed = _packed_bytes(len(task.speakers), task.bounds, task.quantiser)
    return Allowance(array_bytes=packed + NUMPY_HEADER + beside)


_packed_bytes = lru_cache(maxsize=256)(packed_bytes)
