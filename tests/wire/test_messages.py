import gc
import io
import math
import re
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict

import client
import strategies
import wire
from privacy import ReplyRejected
from tests.strategies import flower  # noqa: F401  (sets whose task this is)
from tests.strategies.federation import BOUNDS, LAYOUT, QUANTISER, answer_to
from wire.arrays import array_view, as_array
from wire.messages import VERSION, Answer, Task, pack_vector, problem, unpack_vector
from wire.raw_metrics import RawMetrics

TASK = Task(
    round_number=2, nonce="n", layout=LAYOUT.digest, speakers=(0, 5), bounds=BOUNDS, quantiser=QUANTISER
)


def sent(vector=None):
    return TASK.to_message(7, pack_vector(torch.arange(31.0) if vector is None else vector), 60.0)


def test_a_task_arrives_as_it_was_sent():
    vector = torch.randn(LAYOUT.size)
    task, received = Task.from_message(sent(vector))
    assert task == TASK
    assert torch.equal(received, vector)


def test_a_model_is_read_where_it_lies_and_never_beyond():
    record = pack_vector(torch.randn(LAYOUT.size))
    data = record["vector"].data
    assert unpack_vector(record).data_ptr() == np.frombuffer(data, np.uint8).ctypes.data + len(data) - 4 * 31
    for broken in (data[:-1], data[:4], b"", b"\x93NUMPY\x03\x00" + data[8:]):
        with pytest.raises(ValueError):
            array_view(Array(dtype="float32", shape=(31,), stype="numpy.ndarray", data=broken))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int64])
@pytest.mark.parametrize("size", [0, 7, 100_000])
def test_an_array_is_written_as_flower_writes_it(dtype, size):
    numbers = np.arange(size).astype(dtype)
    ours, flowers = as_array(numbers), Array(numbers)
    assert (ours.dtype, ours.shape, ours.stype) == (flowers.dtype, flowers.shape, flowers.stype)
    assert ours.data == flowers.data
    assert np.array_equal(array_view(ours), numbers) and np.array_equal(ours.numpy(), numbers)


def test_an_answer_arrives_as_it_was_sent():
    answer = answer_to(TASK, lambda number: torch.full((LAYOUT.size,), number + 0.5))
    received = Answer.from_message(Message(answer.to_record(), reply_to=sent()))
    assert received.packed.tobytes() == answer.packed.tobytes()
    assert (received.round_number, received.nonce, received.layout, received.count) == (
        2,
        "n",
        LAYOUT.digest,
        2,
    )


def test_raw_metrics_travel_only_where_there_are_any():
    assert "not-private" not in answer_to(TASK, lambda number: torch.zeros(LAYOUT.size)).to_record()
    for norms in ((), (0.5, 0.0)):
        raw = RawMetrics(trained=2, train_loss=3.5, clipped_share=0.25, update_norms=norms)
        answer = replace(answer_to(TASK, lambda number: torch.zeros(LAYOUT.size)), raw=raw)
        assert Answer.from_message(Message(answer.to_record(), reply_to=sent())).raw == raw


def test_an_update_that_is_not_finite_adds_no_norms():
    raw = RawMetrics()
    for norms in ([3.0, 4.0], [math.nan, 1.0], [1.0, 2.0]):
        raw.add(train_loss=1.0, clipped_share=0.0, update_norms=norms)
    assert (raw.trained, raw.update_norms) == (3, (4.0, 6.0))


def test_raw_metrics_that_cannot_be_read_spoil_the_reply():
    content = answer_to(TASK, lambda number: torch.zeros(LAYOUT.size)).to_record()
    content["not-private"] = ConfigRecord({"trained": 1})
    with pytest.raises(ReplyRejected, match="cannot be read"):
        Answer.from_message(Message(content, reply_to=sent()))


def test_the_message_lives_no_longer_than_the_round():
    assert sent().metadata.ttl == 60.0


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (Error(code=8, reason="stopped responding"), "Flower error 8: stopped responding"),
        (problem("disk full"), "the node reports: disk full"),
        (RecordDict(), "cannot be read"),
        (RecordDict({"answer": ConfigRecord({"version": VERSION, "round": 2})}), "cannot be read"),
        (
            RecordDict(
                {
                    "answer": ConfigRecord(
                        {"version": VERSION, "round": 2, "nonce": "n", "layout": "l", "count": 1}
                    ),
                    "sum": ArrayRecord({"other": Array(torch.zeros(1).numpy())}),
                }
            ),
            "cannot be read",
        ),
    ],
)
def test_what_is_no_answer_is_refused_with_the_reason(content, reason):
    with pytest.raises(ReplyRejected, match=reason):
        Answer.from_message(Message(content, reply_to=sent()))


def npz():
    file = io.BytesIO()
    np.savez(file, integers=np.zeros(3, np.int32))
    return file.getvalue()


def npy(shape):
    """The head of a file that promises `shape`, and nothing after it."""
    file = io.BytesIO()
    header = {"descr": "<i4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [b"", b"\x93NUMPY", npy((31,)), npy((31,)) + b"\0" * 100, npy((10**15,)), npz(), b"PK\3\4", b"\0" * 200],
    ids=[
        "empty",
        "a head's half",
        "a head",
        "half",
        "a 4 PB promise",
        "an archive",
        "a torn one",
        "zeros",
    ],
)
def test_torn_and_hostile_arrays_are_refused(data):
    content = answer_to(TASK, lambda number: torch.zeros(LAYOUT.size)).to_record()
    torn = Array(dtype="int32", shape=(31,), stype="numpy.ndarray", data=data)
    content["sum"] = ArrayRecord({"packed": torn})
    with pytest.raises(ReplyRejected, match=r"cannot be read \((ValueError|MemoryError)\)"):
        Answer.from_message(Message(content, reply_to=sent()))


@pytest.mark.parametrize("count", [math.inf, math.nan, "many", [1, 2]])
def test_a_count_that_is_none_is_refused(count):
    content = answer_to(TASK, lambda number: torch.zeros(LAYOUT.size)).to_record()
    content["answer"]["count"] = count
    with pytest.raises(ReplyRejected, match="cannot be read"):
        Answer.from_message(Message(content, reply_to=sent()))


def test_another_version_of_the_protocol_is_refused():
    message = sent()
    message.content["task"]["version"] = 99
    with pytest.raises(ValueError, match=r"server speaks protocol 99, this node 8: install the same release"):
        Task.from_message(message)
    content = answer_to(TASK, lambda number: torch.zeros(LAYOUT.size)).to_record()
    content["answer"]["version"] = 1
    with pytest.raises(
        ReplyRejected, match=r"node speaks protocol 1, this server 8: install the same release"
    ):
        Answer.from_message(Message(content, reply_to=sent()))


def test_a_reply_is_let_go_without_the_garbage_collector():
    """Flower's views of a record tie it into a cycle; replies would pile up between collections."""
    content = answer_to(TASK, lambda number: torch.ones(LAYOUT.size)).to_record()
    alive = weakref.ref(content)
    gc.disable()
    try:
        reply = Message(content, reply_to=sent())
        Answer.from_message(reply)
        del content, reply
        assert alive() is None
    finally:
        gc.enable()


def test_no_module_uses_the_views_that_keep_a_reply_alive():
    rooms = [Path(room.__file__).parent for room in (strategies, client, wire)]
    for file in (file for room in rooms for file in room.glob("**/*.py") if file.name != "records.py"):
        assert not re.search(r"\.(array|config|metric)_records\b", file.read_text()), file
