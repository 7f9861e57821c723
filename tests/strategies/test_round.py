"""Which node a reply comes from, while most messages have no number yet."""

import pytest
from flwr.app import ConfigRecord, Message, MessageType, RecordDict

from strategies.round import Addressees, Asked
from tests.strategies.flower import FakeGrid

NODES = 200


def messages():
    content = RecordDict({"c": ConfigRecord({"n": 1})})
    return [Message(content, node, MessageType.TRAIN) for node in range(1, NODES + 1)]


@pytest.mark.parametrize("order", [1, -1], ids=["in turn", "out of turn"])
def test_every_node_is_found_also_when_its_message_is_pushed_after_other_replies(order):
    asked = messages()
    grid = FakeGrid(dict.fromkeys(range(1, NODES + 1), lambda message: None))
    addressees = Addressees(Asked(one.metadata, (one.metadata.dst_node_id,)) for one in asked)
    for number, message in enumerate(asked[::order], start=1):
        (key,) = grid.push_messages([message])
        assert addressees.find(key).nodes == (message.metadata.dst_node_id,)
        assert len(addressees.not_asked()) == NODES - number
    found = [addressees.find(message.metadata.message_id).nodes for message in asked]
    assert found == [(node,) for node in range(1, NODES + 1)]
    assert addressees.find("of another round") is None


def test_each_message_is_looked_at_a_few_times_however_many_there_are():
    class Counted:
        """The metadata of a message, which counts how often it is asked for its number."""

        looked = 0

        def __init__(self, node):
            self.dst_node_id, self._id = node, ""

        @property
        def message_id(self):
            Counted.looked += 1
            return self._id

    envelopes = [Counted(node) for node in range(1, NODES + 1)]
    addressees = Addressees(Asked(envelope, (envelope.dst_node_id,)) for envelope in envelopes)
    for envelope in envelopes:
        envelope._id = f"id-{envelope.dst_node_id}"
        assert addressees.find(envelope._id).nodes == (envelope.dst_node_id,)
    assert Counted.looked <= 4 * NODES
