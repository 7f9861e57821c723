import time

import httpx
import pytest
from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError, inflate_object_from_contents

from strategies import StreamingGrid
from strategies.streaming import NOT_SENT, PUSHES, pause_seconds
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


def test_replies_are_handed_over_before_the_last_message_is_sent():
    grid = FakeGrid(dict.fromkeys(range(4), echo))
    stream = StreamingGrid(grid, window=1).send_and_receive([message(n) for n in range(4)], timeout=5)
    next(stream)
    assert len(grid.pushed) == 1


def test_the_deadline_ends_the_wait():
    grid = FakeGrid({0: echo, 1: lambda message: None})
    begin = time.monotonic()
    replies = list(StreamingGrid(grid).send_and_receive([message(0), message(1)], timeout=0.3))
    assert [reply.content["c"]["n"] for reply in replies] == [0]
    assert time.monotonic() - begin < 5


class Faulty(FakeGrid):
    """Its `pull_messages` calls `fault` for messages to node 1."""

    def __init__(self, nodes, fault):
        super().__init__(nodes)
        self.fault = fault

    def pull_messages(self, message_ids):
        (message_id,) = message_ids
        asked = next(m for m in self.pushed if m.metadata.message_id == message_id)
        if asked.metadata.dst_node_id == 1:
            return self.fault(self, message_id)
        return super().pull_messages(message_ids)


def torn(grid, message_id):
    """Flower reads the bytes of a reply that a node has cut short."""
    reply = grid.waiting[message_id]
    content = reply.deflate()
    return [inflate_object_from_contents("id", {"id": content[: len(content) // 2]})]


def astray(grid, message_id):
    """The reply's own bytes say that it answers what another node was asked."""
    (other,) = [m for m in grid.pushed if m.metadata.dst_node_id == 2]
    return [Message(echo(other), reply_to=other)]


@pytest.mark.parametrize(("fault", "reason"), [(torn, "cannot be read"), (astray, "answers another message")])
def test_bytes_that_are_no_reply_fail_their_node_and_not_the_run(fault, reason):
    grid = Faulty(dict.fromkeys((1, 2, 3), echo), fault)
    asked = [message(n) for n in (1, 2, 3)]
    replies = list(StreamingGrid(grid).send_and_receive(asked, timeout=5))
    (failed,) = [reply for reply in replies if reply.has_error()]
    assert failed.metadata.reply_to_message_id == asked[0].metadata.message_id
    assert reason in failed.error.reason
    assert sorted(reply.content["c"]["n"] for reply in replies if reply.has_content()) == [2, 3]


def test_a_broken_connection_is_no_nodes_fault():
    def down(grid, message_id):
        raise httpx.ConnectError("the SuperLink is gone")

    with pytest.raises(httpx.ConnectError):
        list(StreamingGrid(Faulty({1: echo}, down)).send_and_receive([message(1)], timeout=5))


class Forgetful(FakeGrid):
    """A SuperLink that is started anew `times` while it takes messages, and forgets them."""

    def __init__(self, nodes, times):
        super().__init__(nodes)
        self.times = times

    def push_messages(self, messages):
        if self.times:
            self.times -= 1
            raise ObjectPushError("id", 1, "session")
        return super().push_messages(messages)


def test_messages_that_a_restarted_superlink_forgot_are_pushed_again(monkeypatch):
    monkeypatch.setattr("strategies.streaming.LONGEST_PAUSE_SECONDS", 0.01)
    grid = Forgetful(dict.fromkeys(range(2), echo), times=PUSHES - 1)
    replies = list(StreamingGrid(grid).send_and_receive([message(0), message(1)], timeout=5))
    assert sorted(reply.content["c"]["n"] for reply in replies) == [0, 1]
    with pytest.raises(ObjectPushError):
        list(StreamingGrid(Forgetful({0: echo}, times=PUSHES)).send_and_receive([message(0)], timeout=5))


@pytest.mark.parametrize("over", [True, False])
def test_messages_whose_time_ended_on_the_way_end_no_run(over):
    """A SuperLink answers HTTP 500 to them, as to what is a fault of its own."""

    class Malformed(FakeGrid):
        def push_messages(self, messages):
            for one in messages:
                one.metadata.__dict__["_message_id"] = "asked"
                one.metadata.__dict__["_created_at"] -= over * one.metadata.ttl
            request = httpx.Request("POST", "http://superlink/push-messages")
            raise httpx.HTTPStatusError("500", request=request, response=httpx.Response(500))

    stream = StreamingGrid(Malformed({1: echo})).send_and_receive([message(1)], timeout=5)
    if over:
        (reply,) = stream
        assert reply.error.code == NOT_SENT
    else:
        with pytest.raises(httpx.HTTPStatusError):
            list(stream)


def test_a_node_that_has_left_is_not_waited_for_and_is_told_apart_from_a_silent_one():
    """The SuperLink gives no number to a message for a node that is not registered any more."""

    class Left(FakeGrid):
        def push_messages(self, messages):
            ids = super().push_messages(messages)
            return [
                None if one.metadata.dst_node_id == 1 else key for one, key in zip(messages, ids, strict=True)
            ]

    begin = time.monotonic()
    asked = [message(n) for n in (1, 2)]
    failed, reply = StreamingGrid(Left(dict.fromkeys((1, 2), echo))).send_and_receive(asked, timeout=60)
    assert (failed.metadata.src_node_id, failed.error.code) == (1, NOT_SENT)
    assert failed.metadata.reply_to_message_id == asked[0].metadata.message_id
    assert "is it still registered?" in failed.error.reason
    assert reply.content["c"]["n"] == 2
    assert time.monotonic() - begin < 30


def test_a_pause_is_a_small_share_of_the_wait_but_never_of_the_look_itself():
    assert pause_seconds(waited=0.0, looked=0.0) == 0.005
    assert pause_seconds(waited=2.0, looked=0.0) == 0.04
    assert pause_seconds(waited=0.0, looked=0.002) == 0.1
    assert pause_seconds(waited=600.0, looked=3.0) == 0.5
