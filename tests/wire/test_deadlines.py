import pytest

from wire.deadlines import deadline_of, message_seconds, wait_seconds


@pytest.mark.parametrize("deadline", [0.5, 2.0, 47.0, 48.0, 49.0, 59.0, 60.0, 61.0, 600.0, 86_400.0])
def test_a_node_stops_before_the_server_does_and_knows_when(deadline):
    slack = wait_seconds(deadline) - deadline
    assert 0 < slack <= min(15.0, deadline / 4)
    assert message_seconds(deadline) >= wait_seconds(deadline) + max(wait_seconds(deadline), 60.0)
    assert deadline_of(message_seconds(deadline)) == pytest.approx(deadline)
