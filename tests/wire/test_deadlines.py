import pytest

from wire.deadlines import deadline_of, message_seconds


@pytest.mark.parametrize("deadline", [0.5, 2.0, 59.0, 60.0, 61.0, 600.0, 86_400.0])
def test_a_node_stops_before_the_question_is_forgotten_and_knows_when(deadline):
    slack = message_seconds(deadline) - deadline
    assert 0 < slack <= min(15.0, deadline / 4)
    assert deadline_of(message_seconds(deadline)) == pytest.approx(deadline)
