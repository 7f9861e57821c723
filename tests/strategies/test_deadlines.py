import pytest

from strategies.deadlines import deadline_of, message_seconds, slack_seconds, wait_seconds


@pytest.mark.parametrize("deadline", [0.5, 2.0, 60.0, 119.0, 120.0, 121.0, 600.0, 86_400.0])
def test_a_node_stops_before_the_server_and_the_server_before_the_superlink(deadline):
    slack = slack_seconds(deadline)
    assert 0 < slack <= min(15.0, deadline / 8)
    assert wait_seconds(deadline) - deadline == pytest.approx(slack)
    assert message_seconds(deadline) - wait_seconds(deadline) == pytest.approx(slack)
    assert deadline_of(message_seconds(deadline)) == pytest.approx(deadline)
