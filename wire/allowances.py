"""The largest size of a reply: a function of the message that the node received, never of what it sends."""

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
    """The allowance of the reply to `message`.

    The reply to a task has room for the packed sum of the drawn speakers, and for as many bytes as the server
    sent beside the model (SCAFFOLD's control variates). The reply at registration has room for `MOST_TOKENS`
    tokens. Any other reply has room for arrays as large as those of the message.
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
