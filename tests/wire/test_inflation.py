"""What a message may take of memory: hostile messages through Flower's real bytes, with memory measured."""

import json
import tracemalloc

import httpx
import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MessageType, RecordDict
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import inflatable_class_registry, inflate_object_from_contents

from tests.forged import Forged, array, as_message, bomb, chunk, config, honest, named, reply, with_array
from wire.inflation import (
    CHILDREN,
    Allowance,
    InflationRefused,
    Meter,
    ResponseLimits,
    inflate_within,
    object_ids,
    pull_within,
    without_content,
)

MEGA = 1_000_000
ASKED = Allowance(array_bytes=MEGA)
LITTLE = 8 * MEGA  # that may be taken while a reply of at most a megabyte is refused


def question(content=None):
    message = Message(content or RecordDict(), 7, MessageType.TRAIN)
    message.metadata.__dict__["_message_id"] = "a" * 64
    return message


def peak_of(work) -> int:
    """The most bytes that Python allocates while it works, whatever becomes of it."""
    tracemalloc.start()
    try:
        work()
    except Exception:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


def inflated(forged: Forged, allowance=ASKED) -> Message:
    return inflate_within(forged.object_id, forged.contents(), allowance)


def nested_arrays(depth: int) -> Forged:
    """An array whose chunks are arrays: each level repeats the one below a thousand times."""
    one = array([chunk(bytes(1000))])
    for _ in range(depth):
        one = array([one], [0] * 1000)
    return one


def raw_array(body: bytes) -> Forged:
    return Forged.of_kind("Array", body, [chunk(b"x")])


HALF = chunk(bytes(MEGA // 2))
HOSTILE = {
    "a chunk that is repeated": lambda q: bomb(q, chunk_bytes=100_000, repeats=4_000),
    "chunks by numbers from behind": lambda q: with_array(q, array([chunk(bytes(100_000))], [-1] * 4_000)),
    "chunks by truth values": lambda q: with_array(
        q, array([chunk(b""), chunk(bytes(100_000))], [True] * 4_000 + [0])
    ),
    "many arrays of one chunk": lambda q: reply(
        q,
        {
            "sum": named(
                "ArrayRecord", {str(i): array([chunk(bytes(500_000))], shape=(i,)) for i in range(50)}
            )
        },
    ),
    "an array of arrays": lambda q: with_array(q, nested_arrays(2)),
    "a bomb in a record that nobody asked for": lambda q: reply(
        q,
        {
            "answer": config(version=5),
            "more": named("ArrayRecord", {"x": array([chunk(bytes(100_000))], [0] * 4_000)}),
        },
    ),
    "a list of repeats that is long itself": lambda q: with_array(q, array([chunk(b"")], [0] * 400_000)),
    "a shape of a million axes": lambda q: with_array(q, array([chunk(b"x")], shape=[1] * 400_000)),
    "a list of whole numbers": lambda q: reply(q, {"answer": config(numbers=[1000] * 400_000)}),
    "a list of texts": lambda q: reply(q, {"answer": config(texts=["ab"] * 300_000)}),
    "a long text": lambda q: reply(q, {"answer": config(text="x" * MEGA)}),
    "more genuine bytes than asked": lambda q: with_array(q, array([chunk(bytes(MEGA + 1))])),
    "a chunk without an end of its head": lambda q: with_array(
        q, array([Forged(b"ArrayChunk " + b"x" * MEGA)])
    ),
    "a message in a message": lambda q: as_message(q, as_message(q, named("RecordDict", {}))),
    "a record dict in a record dict": lambda q: reply(q, {"answer": named("RecordDict", {})}),
    "a chunk with something below it": lambda q: with_array(
        q, array([Forged.of_kind("ArrayChunk", b"x", [chunk(b"y")])])
    ),
    "no message at all": lambda q: array([chunk(b"x")]),
    "a message without content": lambda q: as_message(q, None),
    "a kind that Flower has not": lambda q: as_message(q, Forged.of_kind("Exec", b"")),
    "a head that is no head": lambda q: as_message(q, Forged(b"RecordDict \xff\0")),
    "nothing": lambda q: as_message(q, Forged(b"")),
    "an array that is no JSON": lambda q: with_array(q, raw_array(b"{")),
    "an array that is a list": lambda q: with_array(q, raw_array(b"[]")),
    "an array nested too deep to be read": lambda q: with_array(q, raw_array(b"[" * 50_000)),
    "chunks by texts": lambda q: with_array(q, raw_array(b'{"arraychunk_ids": "00"}')),
    "a chunk that is not there": lambda q: with_array(q, raw_array(b'{"arraychunk_ids": [1]}')),
    "a whole number of a million digits": lambda q: with_array(
        q, raw_array(b'{"arraychunk_ids": [' + b"1" * 60_000 + b"]}")
    ),
}
# What is no bomb fails in Flower itself, or later in ours, without much memory.
READABLE = {"a message without content"}


@pytest.mark.parametrize("name", [name for name in HOSTILE if name not in READABLE])
def test_hostile_messages_are_refused_before_they_take_memory(name):
    forged = HOSTILE[name](question())
    contents = forged.contents()

    def work():
        with pytest.raises(InflationRefused) as refused:
            inflate_within(forged.object_id, contents, ASKED)
        assert len(str(refused.value)) < 200 and str(refused.value).isprintable()

    work()
    assert peak_of(work) < LITTLE


def test_flower_alone_takes_what_the_bomb_asks_for():
    """The control: were Flower to bound it one day, `wire.inflation` could go."""
    forged = bomb(question(), chunk_bytes=100_000, repeats=1_000)
    contents = forged.contents()
    assert sum(map(len, contents.values())) < MEGA / 2
    assert peak_of(lambda: inflate_object_from_contents(forged.object_id, contents)) > 100 * MEGA


def test_what_is_within_its_allowance_comes_out_as_it_went_in():
    numbers = np.random.default_rng(0).integers(0, 255, MEGA - 128, dtype=np.uint8)
    content = RecordDict(
        {
            "sum": ArrayRecord({"packed": Array(numbers)}),
            "answer": ConfigRecord({"version": 5, "counts": [1, 2], "dataset": "d"}),
        }
    )
    message = inflated(honest(Message(content, reply_to=question())))
    assert (message.content["sum"]["packed"].numpy() == numbers).all()
    assert message.content["answer"]["counts"] == [1, 2]
    assert message.metadata.reply_to_message_id == "a" * 64
    with pytest.raises(InflationRefused, match=r"would take 1,000,128 bytes, at most 1,000,000"):
        inflated(honest(Message(RecordDict({"s": zeros(MEGA)}), reply_to=question())))


def zeros(size: int) -> ArrayRecord:
    return ArrayRecord({"p": Array(np.zeros(size, dtype=np.uint8))})


def test_a_large_array_of_zeros_is_no_bomb():
    """Flower sends equal chunks once: an honest array repeats them as well."""
    forged = honest(Message(RecordDict({"s": zeros(30 * MEGA)}), reply_to=question()))
    assert sum(map(len, forged.contents().values())) < 17 * MEGA
    message = inflated(forged, Allowance(array_bytes=31 * MEGA))
    assert message.content["s"]["p"].numpy().nbytes == 30 * MEGA


def test_an_error_is_a_message_as_well_but_not_with_megabytes_of_reason():
    error = Message(Error(2, "stopped"), reply_to=question())
    assert inflated(honest(error)).error.reason == "stopped"
    with pytest.raises(InflationRefused, match="bytes beside its arrays"):
        inflated(honest(Message(Error(2, "x" * MEGA), reply_to=question())))


def test_a_message_can_be_answered_without_its_content():
    forged = bomb(question(), chunk_bytes=10, repeats=10)
    stub = without_content(forged.content)
    assert stub.metadata.reply_to_message_id == "a" * 64
    assert not stub.content


def test_a_tree_of_too_many_objects_is_refused_before_any_is_asked_for():
    leaf = ObjectTree(object_id="x")
    wide = ObjectTree(object_id="root", children=[leaf] * (ASKED.objects + 1))
    deep = leaf
    for _ in range(90):  # protobuf itself reads no more than a hundred levels
        deep = ObjectTree(object_id="y", children=[deep])
    for tree in (wide, deep):
        with pytest.raises(InflationRefused, match="more than 64 objects"):
            object_ids(tree, ASKED)
    small = ObjectTree(object_id="root", children=[leaf, ObjectTree(object_id="z"), leaf])
    assert object_ids(small, ASKED)[0] == "root"
    assert sorted(object_ids(small, ASKED)) == ["root", "x", "z"]


def test_pulling_ends_as_soon_as_more_has_come_than_may():
    pulled = []

    def pull(object_id):
        pulled.append(object_id)
        return bytes(MEGA)

    with pytest.raises(InflationRefused, match="more than 1,065,780 bytes"):
        pull_within([str(number) for number in range(60)], pull, Meter(ASKED))
    assert len(pulled) <= 4


class Body(httpx.SyncByteStream):
    """A response's body that says when it is read."""

    def __init__(self) -> None:
        self.read = False

    def __iter__(self):
        self.read = True
        yield b"x" * 1000


@pytest.mark.parametrize(
    ("path", "headers", "allowed"),
    [
        ("/v1/runtime/pull-object", {"content-length": "1000"}, True),
        ("/v1/runtime/pull-object", {"content-length": "2000000000"}, False),
        ("/v1/runtime/pull-object", {"content-length": "1000", "content-encoding": "gzip"}, False),
        ("/v1/runtime/pull-object", {}, False),
        ("/v1/runtime/pull-messages", {"content-length": "1000"}, True),
        ("/v1/runtime/pull-messages", {"content-length": "90000"}, False),
        ("/v1/runtime/get-nodes", {"content-length": "2000000000"}, True),
    ],
)
def test_an_answer_that_is_too_long_is_refused_before_its_body_is_read(path, headers, allowed):
    body = Body()
    client = httpx.Client(
        transport=httpx.MockTransport(lambda request: httpx.Response(200, headers=headers, stream=body))
    )
    limits = ResponseLimits()
    limits.install(client)
    limits.announcement, limits.meter = ASKED.announcement_bytes, Meter(ASKED)
    if allowed:
        client.post(f"http://superlink{path}")
    else:
        with pytest.raises(InflationRefused, match="expected"):
            client.post(f"http://superlink{path}")
    assert body.read == allowed


def test_flowers_objects_are_still_those_that_are_bounded():
    """A kind of object that a new Flower adds must be thought about first."""
    assert set(inflatable_class_registry) == set(CHILDREN)
    made = honest(Message(RecordDict({"s": zeros(3)}), reply_to=question()))
    (head,) = [one for one in made.contents().values() if one.startswith(b"Array ")]
    assert set(json.loads(head.partition(b"\0")[2])) == {"dtype", "shape", "stype", "arraychunk_ids"}
    assert len(get_all_nested_objects(question())) == 2
