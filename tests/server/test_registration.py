import pytest
from flwr.app import ConfigRecord, Error, RecordDict

from cli.composing import default_config
from recipes import RunConfig
from server.errors import RegistrationError
from server.overlaps import HeldOutSpeakers
from server.registration import MOST_UNPLANNED, register_nodes
from strategies import StreamingGrid
from tests.corpora import make_corpus
from tests.server.in_process import federate, recipe
from tests.strategies.federation import failing, silent
from tests.strategies.flower import FakeGrid
from wire.hosting import hosted_by, pack_infos
from wire.inflation import REFUSED
from wire.messages import VERSION, problem
from wire.node_info import NodeInfo


def settings(**changes):
    flat = {**default_config(), "training.wait-seconds": 0.4}
    flat |= {f"training.{key.replace('_', '-')}": value for key, value in changes.items()}
    return RunConfig.from_flat(flat).training


def holds(speakers, dataset="d", version=VERSION, skipped=0, split="train", part=None, parts=100, left=0):
    def answer(message):
        own = message.metadata.dst_node_id if part is None else part
        said = {"speakers": speakers, "dataset": dataset, "skipped": skipped, "split": split, "left": left}
        return RecordDict({"answer": ConfigRecord({"version": version, **said, "part": own, "parts": parts})})

    return answer


def call(nodes, planned=0, **changes):
    return register_nodes(StreamingGrid(FakeGrid(nodes)), settings(**changes), planned=planned)


def test_the_population_is_what_the_nodes_hold():
    found = call({5: holds(3), 2: holds(4, skipped=7)})
    assert found.population_index.population == 7
    assert found.population_index.nodes == (2, 5)
    assert found.dataset == "d"
    assert found.skipped == 7


def test_nodes_are_asked_whether_they_hold_the_same_frozen_parameters():
    asked = []

    def node(message):
        asked.append(message.content["query"]["frozen"])
        return holds(3)(message)

    found = register_nodes(StreamingGrid(FakeGrid({1: node})), settings(), "digest")
    assert (asked, found.frozen) == (["digest"], "digest")


def test_the_population_index_knows_what_speech_each_node_registered():
    population_index = call({5: holds(3, "a"), 2: holds(4, "b")}).population_index
    assert (population_index.dataset(5), population_index.dataset(2)) == ("a", "b")


def test_the_same_corpora_have_the_same_name_whoever_holds_which_part():
    assert call({1: holds(3), 2: holds(4)}).dataset == call({7: holds(7)}).dataset
    one = call({1: holds(3, "a"), 2: holds(4, "b")}).dataset
    other = call({8: holds(1, "b"), 9: holds(9, "a")}).dataset
    assert one == other
    assert one not in ("a", "b")


def test_too_few_nodes_is_an_error_with_both_numbers():
    with pytest.raises(RegistrationError, match=r"1 node connected within 0.4 s, and training.min-nodes = 3"):
        call({1: holds(3)}, min_nodes=3)


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (lambda message: problem("corpus x.jsonl has no speakers"), "corpus x.jsonl has no speakers"),
        (failing("crashed"), "Flower error 2: crashed"),
        (silent, "no answer in 0.4 s"),
        (holds(3, version=99), f"it speaks protocol 99, this server {VERSION}: install the same release"),
        (lambda message: RecordDict({"answer": ConfigRecord({"version": VERSION})}), "holds None speakers"),
        (holds(0), "holds 0 speakers"),
        (holds("many"), "holds 'many' speakers"),
        (holds(10**12), "holds 1000000000000 speakers"),
        (holds(3, dataset="x" * 1000), "names its data set 'xxx"),
        (holds(3, skipped=b"?"), "skipped b'.' utterances"),
        (holds(3, split=1), "names its split 1"),
        (holds(3, left=4), "4 of its 3 speakers have left"),
        (holds(3, part=7, parts=7), "holds part 7 of 7"),
        (lambda message: problem("x\n\x1b[2Jnode 1: fine"), r"x  \[2Jnode 1: fine$"),
    ],
)
def test_a_node_that_cannot_take_part_stops_the_start_and_is_named(node, reason):
    with pytest.raises(RegistrationError, match=f"node 2: .*{reason}"):
        call({1: holds(3), 2: node})


def test_a_node_that_reports_more_speakers_than_are_planned_is_named_with_number_and_setting():
    nodes = {1: holds(3), 2: holds(10**8)}
    with pytest.raises(
        RegistrationError, match=r"^node 2 reports 100,000,000 speakers, .*privacy.population = 96\)"
    ):
        call(nodes, planned=96)
    with pytest.raises(
        RegistrationError, match=r"together 100,000,003. With privacy.population = 0, at most"
    ):
        call(nodes)
    half = MOST_UNPLANNED // 2
    with pytest.raises(RegistrationError, match=r"^node 5 reports 500,001 speakers, all nodes"):
        call({4: holds(half), 5: holds(half + 1)})
    assert call({4: holds(half), 5: holds(half)}).population_index.population == MOST_UNPLANNED
    assert call({1: holds(3), 2: holds(10**6)}, planned=10**6 + 3).population_index.population == 10**6 + 3


def test_the_plan_bounds_what_is_reported_in_a_whole_run_before_anybody_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr("strategies.dp_fed_opt.draw_cohort", lambda *_: pytest.fail("a cohort was drawn"))
    corpus = make_corpus(tmp_path / "corpus", {"test": 1})
    with pytest.raises(
        RegistrationError, match=r"node 2 reports 100,000,000 speakers, .*privacy.population = 5\)"
    ):
        federate(recipe(corpus, **{"privacy.population": 5}), speakers=(3, 10**8))


def test_a_registration_reply_that_is_refused_stops_the_start_and_is_named():
    refused = Error(REFUSED, "the reply is refused: its arrays would take 9 bytes")
    with pytest.raises(RegistrationError, match=r"node 2: the reply is refused: its arrays"):
        call({1: holds(3), 2: lambda message: refused})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (holds(3, part=0, parts=1), holds(3, part=0, parts=1)),  # one manifest on two nodes
        (holds(2, part=1, parts=3), holds(2, part=1, parts=3)),
        (holds(2, part=1, parts=3), holds(3, part=0, parts=2)),
    ],
)
def test_the_same_speakers_on_two_nodes_are_refused(one, other):
    with pytest.raises(
        RegistrationError, match=r"nodes 2 and 5 hold the same speakers .*'train'.*partition-id"
    ):
        call({5: one, 2: other, 3: holds(4, "elsewhere", part=0, parts=1)})


def test_speakers_who_are_on_two_nodes_or_held_out_stop_the_start():
    """Two splits of one corpus, and the server cannot see whether they share speakers."""
    nodes = {1: holds(3, part=0, parts=1), 2: holds(4, split="more", part=0, parts=1)}
    with pytest.raises(RegistrationError, match="nodes 1 and 2 hold the splits 'train' and 'more'"):
        call(nodes)
    with pytest.raises(RegistrationError, match="node 1 holds the held-out split 'train'"):
        register_nodes(
            StreamingGrid(FakeGrid({1: holds(3)})),
            settings(),
            "",
            HeldOutSpeakers(dataset="d", split="train"),
        )


def test_the_registration_has_the_speakers_tokens_and_whether_they_are_synthetic():
    def node(message):
        said = {"namespace": "n", "tokens": bytes(16) + b"1" * 16}
        return NodeInfo(speakers=2, dataset="d", split="s", **said).to_record()

    found = call({1: node})
    assert (found.tokens, found.synthetic) == ({"00" * 16, "31" * 16}, False)
    assert call(
        {1: lambda message: NodeInfo(speakers=2, dataset="d", split="s", synthetic=True).to_record()}
    ).synthetic


def host(part, parts=2, change=lambda infos: infos):
    """A host of nodes of which each has as many speakers as its number, and one."""

    def answer(message):
        infos = {
            node: NodeInfo(speakers=node + 1, dataset="d", split="s", part=node, parts=5)
            for node in hosted_by(part, parts, 5)
        }
        return pack_infos(change(infos), part, parts)

    return answer


def test_the_nodes_of_hosts_are_registered_each_with_its_speakers():
    found = call({70: host(1), 60: host(0)}, hosted_nodes=5)
    assert found.population_index.nodes == (0, 1, 2, 3, 4)
    assert found.population_index.counts == (1, 2, 3, 4, 5)
    assert found.population_index.portion(3) == "s 3 5"
    assert (found.addressing.hosts, found.addressing.present([60])) == ({1: 70, 0: 60}, {0, 2, 4})


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (host(0), "node 71: it holds part 0 of 2, as another host does"),
        (host(1, parts=3), "node 71: it holds part 1 of 3, and another one of 2"),
        (
            host(1, change=lambda infos: {3: infos[3]}),
            "node 71: it describes other nodes than those of part 1",
        ),
        (holds(3), "node 71: its answer is not that of a host of nodes"),
    ],
)
def test_a_host_of_other_nodes_than_its_own_stops_the_start(second, reason):
    with pytest.raises(RegistrationError, match=reason):
        call({70: host(0), 71: second}, hosted_nodes=5)


def test_a_host_that_is_not_there_stops_the_start():
    expected = "hold 3 of the training.hosted-nodes = 5 nodes; set training.min-nodes = 1"
    with pytest.raises(RegistrationError, match=expected):
        call({70: host(0)}, hosted_nodes=5)


def test_what_was_skipped_is_counted_once_for_each_corpus():
    nodes = {1: holds(3, skipped=5), 2: holds(3, skipped=5), 3: holds(3, "other", skipped=7)}
    assert call(nodes).skipped == 12
