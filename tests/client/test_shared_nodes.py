"""What the nodes of a simulation share in a worker: all that one of them looked up but its speakers."""

import pytest

from client import speaker_processes
from client.app import app
from client.node import Node
from tests.client.test_app import SPEAKERS, ask, context, manifest, task
from tests.strategies.federation import integers_of
from wire.messages import Answer

__all__ = ["manifest"]  # a fixture


@pytest.fixture
def made(monkeypatch):
    """The node configurations of which nodes were made from nothing."""
    seen, make = [], Node.of.__func__
    monkeypatch.setattr(
        Node, "of", classmethod(lambda cls, *given: seen.append(given[1]) or make(cls, *given))
    )
    speaker_processes.forget()
    return seen


def test_the_nodes_of_a_simulation_share_what_one_of_them_loaded(manifest, made):
    separate = []
    for index in range(3):
        speaker_processes.forget()
        separate.append(integers_of_part(manifest, index))
    assert len(made) == 3
    assert all(integers_of_part(manifest, index).equal(separate[index]) for index in (0, 1, 2, 0))
    assert len(made) == 3 and not separate[0].equal(separate[1])
    assert [ask(context(manifest, index, 3))["speakers"] for index in range(3)] == [2, 2, 1]
    assert len(made) == 3


def integers_of_part(manifest, index):
    message, made = task((0,))
    return integers_of(
        Answer.from_message(app(message, context(manifest, index, 3))), made.bounds, made.quantiser
    )


@pytest.mark.parametrize(
    ("own", "settings"),
    [
        ({"feature-cache": "features"}, {}),
        ({"most-rounds-per-speaker": True}, {}),
        ({}, {"local.gradient-clip": 2.0}),
    ],
    ids=["another setting of the node", "an equal one of another type", "another setting of the run"],
)
def test_a_node_of_other_settings_shares_nothing(manifest, made, own, settings, tmp_path):
    own = {name: str(tmp_path / value) if isinstance(value, str) else value for name, value in own.items()}
    for shared in ({name: 1 for name in own if own[name] is True}, own):
        node_config = {"partition-id": 0, "num-partitions": 3, **shared}
        ask(context(manifest, node_config=node_config, **(settings if shared is own else {})))
    assert len(made) == 2


def test_a_node_with_speech_of_its_own_is_made_for_each_message(manifest, made):
    own = context(manifest, node_config={"corpus-kind": "manifest", "corpus-path": str(manifest)})
    assert [ask(own)["speakers"] for _ in range(2)] == [SPEAKERS] * 2
    assert len(made) == 2


def test_a_part_that_is_not_there_is_refused_also_after_one_that_is(manifest, made):
    ask(context(manifest, 0, 3))
    assert "needs both" in ask(context(manifest, 3, 3))["problem"]
