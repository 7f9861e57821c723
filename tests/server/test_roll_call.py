import pytest
from flwr.app import ConfigRecord, RecordDict

from cli.composing import default_config
from recipes import RunConfig
from server.roll_call import RollCallError, call_roll
from strategies import StreamingGrid
from strategies.protocol import VERSION, problem
from tests.strategies.federation import failing, silent
from tests.strategies.flower import FakeGrid


def settings(**changes):
    flat = {**default_config(), "training.wait-seconds": 0.4}
    flat |= {f"training.{key.replace('_', '-')}": value for key, value in changes.items()}
    return RunConfig.from_flat(flat).training


def holds(speakers, dataset="d", version=VERSION, skipped=0):
    answer = {"version": version, "speakers": speakers, "dataset": dataset, "skipped": skipped}
    return lambda message: RecordDict({"answer": ConfigRecord(answer)})


def call(nodes, **changes):
    return call_roll(StreamingGrid(FakeGrid(nodes)), settings(**changes))


def test_the_population_is_what_the_nodes_hold():
    roll = call({5: holds(3), 2: holds(4, skipped=7)})
    assert roll.roster.population == 7
    assert roll.roster.nodes == (2, 5)
    assert roll.dataset == "d"
    assert roll.skipped == 7


def test_nodes_are_asked_whether_they_hold_the_same_frozen_parameters():
    asked = []

    def node(message):
        asked.append(message.content["query"]["frozen"])
        return holds(3)(message)

    roll = call_roll(StreamingGrid(FakeGrid({1: node})), settings(), "digest")
    assert (asked, roll.frozen) == (["digest"], "digest")


def test_the_roster_knows_what_speech_each_node_answered_for():
    roster = call({5: holds(3, "a"), 2: holds(4, "b")}).roster
    assert (roster.dataset(5), roster.dataset(2)) == ("a", "b")


def test_the_same_data_have_the_same_name_however_they_are_spread():
    assert call({1: holds(3), 2: holds(4)}).dataset == call({7: holds(7)}).dataset
    one = call({1: holds(3, "a"), 2: holds(4, "b")}).dataset
    other = call({8: holds(1, "b"), 9: holds(9, "a")}).dataset
    assert one == other
    assert one not in ("a", "b")


def test_too_few_nodes_is_an_error_with_both_numbers():
    with pytest.raises(RollCallError, match=r"1 nodes after 0.4 s, training.min-nodes is 3"):
        call({1: holds(3)}, min_nodes=3)


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (lambda message: problem("corpus x.jsonl has no speakers"), "corpus x.jsonl has no speakers"),
        (failing("crashed"), "Flower error 2: crashed"),
        (silent, "no answer in 0.4 s"),
        (holds(3, version=99), "it speaks protocol 99, this server 3: install the same release"),
        (lambda message: RecordDict({"answer": ConfigRecord({"version": VERSION})}), "holds None speakers"),
        (holds(0), "holds 0 speakers"),
        (holds("many"), "holds 'many' speakers"),
        (holds(10**12), "holds 1000000000000 speakers"),
        (holds(3, dataset="x" * 1000), "names its data set 'xxx"),
        (holds(3, skipped=b"?"), "skipped b'.' utterances"),
        (lambda message: problem("x\n\x1b[2Jnode 1: fine"), r"x  \[2Jnode 1: fine$"),
    ],
)
def test_a_node_that_cannot_take_part_stops_the_start_and_is_named(node, reason):
    with pytest.raises(RollCallError, match=f"node 2: .*{reason}"):
        call({1: holds(3), 2: node})
