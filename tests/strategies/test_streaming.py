import time

from flwr.app import ConfigRecord, Message, MessageType, RecordDict

from strategies import StreamingGrid
from strategies.streaming import pause_seconds
from tests.strategies.flower import FakeGrid


def message(node):
    return Message(RecordDict({"c": ConfigRecord({"n": node})}), node, MessageType.TRAIN)


def echo(message):
    return RecordDict({"c": ConfigRecord({"n": message.metadata.dst_node_id})})


def test_every_reply_comes_once_and_at_most_a_window_is_under_way():
    grid = FakeGrid(dict.fromkeys(range(20), echo))
    streaming = StreamingGrid(grid, window=3)
    replies = list(streaming.send_and_receive([message(n) for n in range(20)], timeout=5))
    assert sorted(reply.content["c"]["n"] for reply in replies) == list(range(20))
    assert grid.most_waiting <= 3
    assert streaming.unanswered == []


def test_replies_are_handed_over_before_the_last_message_is_sent():
    grid = FakeGrid(dict.fromkeys(range(4), echo))
    stream = StreamingGrid(grid, window=1).send_and_receive([message(n) for n in range(4)], timeout=5)
    next(stream)
    assert len(grid.pushed) == 1


def test_the_deadline_ends_the_wait_and_names_what_is_missing():
    grid = FakeGrid({0: echo, 1: lambda message: None})
    streaming = StreamingGrid(grid)
    begin = time.monotonic()
    replies = list(streaming.send_and_receive([message(0), message(1)], timeout=0.3))
    assert len(replies) == 1
    assert len(streaming.unanswered) == 1
    assert time.monotonic() - begin < 5


def test_a_pause_is_a_small_share_of_the_wait_but_never_of_the_look_itself():
    assert pause_seconds(waited=0.0, looked=0.0) == 0.005
    assert pause_seconds(waited=2.0, looked=0.0) == 0.04
    assert pause_seconds(waited=0.0, looked=0.02) == 0.2
    assert pause_seconds(waited=600.0, looked=3.0) == 0.5
