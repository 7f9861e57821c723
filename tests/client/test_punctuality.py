import logging
import time

import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from client.punctuality import TOO_LATE, is_late, punctual
from tests.strategies import flower  # noqa: F401  (sets whose task this is)
from wire.deadlines import message_seconds
from wire.messages import problem

UPDATE = RecordDict({"answer": ConfigRecord({"update": 1})})


def asked(deadline: float, ago: float = 0.0) -> Message:
    message = Message(RecordDict(), 2, "train", ttl=message_seconds(deadline))
    message.metadata.__dict__["_created_at"] = time.time() - ago
    return message


@pytest.mark.parametrize(("ago", "ahead"), [(0.0, 0.0), (0.0, 3600.0), (59.0, 0.0)])
def test_an_answer_before_the_deadline_goes_out_even_where_the_clock_is_behind(ago, ahead):
    """`ahead` is the server's clock: the question comes from the future."""
    assert punctual(lambda message, context: UPDATE)(asked(60.0, ago - ahead), None) is UPDATE


def test_an_answer_after_the_deadline_stays_here_and_the_log_says_why(caplog):
    def slow(message, context):
        message.metadata.__dict__["_created_at"] -= 61.0
        return UPDATE

    with caplog.at_level(logging.WARNING):
        content = punctual(slow)(asked(60.0), None)
    assert content == problem(TOO_LATE)
    assert "by the clocks of server and node" in caplog.text
    assert "answers are sent within 60 s" in caplog.text
    assert "set it (NTP)" in caplog.text


def test_a_question_that_waited_beyond_its_deadline_is_no_work():
    worked = []
    content = punctual(lambda message, context: worked.append(message))(asked(60.0, ago=61.0), None)
    assert content == problem(TOO_LATE)
    assert not worked


def test_the_nodes_own_stopwatch_counts_where_its_clock_is_behind(caplog):
    def slow(message, context):
        time.sleep(0.3)
        return UPDATE

    with caplog.at_level(logging.WARNING):
        content = punctual(slow)(asked(0.2, ago=-3600.0), None)
    assert content == problem(TOO_LATE)
    assert "training.round-deadline-seconds" in caplog.text


def test_the_deadline_itself_is_in_time():
    assert not is_late(2.0, 2.0, 2.0)
    assert is_late(0.0, 2.0001, 2.0)
    assert is_late(2.0001, -50.0, 2.0)
