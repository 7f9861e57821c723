"""A host answers for each of its nodes as a SuperNode of its own would."""

import pytest
import torch
from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict

from cli.composing import default_config
from client.app import app
from client.state.departures import Departure, record
from privacy import Quantiser
from privacy.group_statistics import bounds_with_statistics
from recipes import ConfigError, RunConfig
from speech.model.ctc_transformer import build_model
from strategies import bind
from strategies.hosting import Hosted
from tests.corpora import make_corpus
from tests.strategies import flower  # noqa: F401  (sets whose task this is)
from tests.strategies.federation import integers_of
from wire.hosting import HostAnswer, HostTask, unpack_infos
from wire.messages import Answer, Task, pack_vector
from wire.node_info import NodeInfo

NODES, HOSTS, HOST = 5, 2, 77
LAYOUT, VECTOR = bind(build_model("tiny", seed=0))
BOUNDS = bounds_with_statistics("uniform", 0.5, LAYOUT, by_group=True)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"), {"train": 7, "test": 1}, utterances=1)


def context(manifest, part, parts, own=None, **settings):
    flat = {**default_config(), "corpus.kind": "manifest", "corpus.path": str(manifest), **settings}
    node_config = {"partition-id": part, "num-partitions": parts, **(own or {})}
    return Context(run_id=1, node_id=HOST, node_config=node_config, state=RecordDict(), run_config=flat)


def host(manifest, part, own=None, nodes=NODES, **settings):
    return context(manifest, part, HOSTS, own, **settings, **{"training.hosted-nodes": nodes})


def ask(context):
    message = Message(RecordDict({"query": ConfigRecord({"run": "r"})}), HOST, MessageType.QUERY)
    return app(message, context).content["answer"]


def tasks(speakers, raw_metrics=False):
    """The task of each node, from the numbers of its drawn speakers."""
    return {
        node: Task(
            round_number=1,
            nonce="n",
            layout=LAYOUT.digest,
            speakers=numbers,
            bounds=BOUNDS,
            quantiser=Quantiser.of(BOUNDS),
            raw_metrics=raw_metrics,
        )
        for node, numbers in speakers.items()
    }


def answered(context, of_nodes):
    message = HostTask(tasks=of_nodes).to_message(HOST, pack_vector(VECTOR), 600.0)
    reply = app(message, context)
    return HostAnswer.from_message(reply, list(of_nodes))


def integers(answer):
    return integers_of(answer, BOUNDS, Quantiser.of(BOUNDS)).to(torch.int64)


def alone(manifest, node, task, own=None):
    message = task.to_message(HOST, pack_vector(VECTOR), 600.0)
    return Answer.from_message(app(message, context(manifest, node, NODES, own)))


def test_each_node_registers_what_a_supernode_of_its_own_would(manifest):
    for part in range(HOSTS):
        found = unpack_infos(ask(host(manifest, part)), NODES)
        assert found[:2] == (part, HOSTS)
        own = {node: NodeInfo.of(ask(context(manifest, node, NODES))) for node in range(part, NODES, HOSTS)}
        assert found[2] == own and all(info.tokens for info in own.values())


def test_the_sum_is_that_of_separate_nodes_to_the_bit(manifest):
    of_nodes = tasks({0: (0, 1), 2: (0,), 4: (0,)}, raw_metrics=True)
    together = answered(host(manifest, 0), of_nodes)
    apart = [alone(manifest, node, task) for node, task in of_nodes.items()]
    assert together.problems == {} and together.answer.count == 4
    assert integers(together.answer).equal(sum(integers(one) for one in apart))
    assert integers(together.answer).any()
    raw = [one.raw for one in (together.answer, *apart)]
    assert raw[0].trained == 4
    assert raw[0].train_loss == pytest.approx(sum(one.train_loss for one in raw[1:]))
    norms = torch.tensor([one.update_norms for one in raw], dtype=torch.float64)
    assert torch.allclose(norms[0], norms[1:].sum(0))


def test_a_node_that_refuses_its_task_is_left_out_and_the_others_count(manifest):
    of_nodes = tasks({0: (0,), 2: (0,)})
    message = HostTask(tasks=of_nodes).to_message(HOST, pack_vector(VECTOR), 600.0)
    message.content["hosted"]["portions"] = ["", "train 0 99"]  # not what node 2 registered
    together = HostAnswer.from_message(app(message, host(manifest, 0)), [0, 2])
    assert list(together.problems) == [2] and "changed since registration" in together.problems[2]
    assert integers(together.answer).equal(integers(alone(manifest, 0, of_nodes[0])))


@pytest.mark.parametrize("foreign", [1, NODES, -1], ids=["another host's", "of no host", "below the first"])
@pytest.mark.parametrize("first", [True, False], ids=["asked first", "asked last"])
def test_a_node_of_another_host_is_refused(manifest, foreign, first):
    """Its speakers would be trained twice."""
    asked = {foreign: (0,), 0: (0,)} if first else {0: (0,), foreign: (0,)}
    together = answered(host(manifest, 0), tasks(asked))
    assert list(together.problems) == [foreign] and together.answer.count == 1
    assert "would count twice" in together.problems[foreign]
    assert integers(together.answer).equal(integers(alone(manifest, 0, tasks({0: (0,)})[0])))


@pytest.mark.parametrize("numbers", [(5,), (0, 0)])
def test_a_node_that_does_not_have_the_drawn_speakers_takes_no_other_with_it(manifest, numbers):
    of_nodes = tasks({0: (0, 1), 2: numbers})
    together = answered(host(manifest, 0), of_nodes)
    assert list(together.problems) == [2] and together.answer.count == 2
    assert integers(together.answer).equal(integers(alone(manifest, 0, of_nodes[0])))


def test_a_speaker_who_left_a_hosted_node_counts_as_zero_and_is_not_counted_again(manifest, tmp_path):
    own = {"node-state": str(tmp_path)}
    here, both = host(manifest, 0, own), tasks({0: (0, 1), 2: (0,)})
    assert unpack_infos(ask(here), NODES)[2][0].speakers == 2
    record(tmp_path, [Departure.now("train-05", "")])
    without = integers(alone(manifest, 0, tasks({0: (0,)})[0])) + integers(alone(manifest, 2, both[2]))
    assert integers(answered(here, both).answer).equal(without)
    again = host(manifest, 0, own)
    assert unpack_infos(ask(again), NODES)[2][0].speakers == 1
    assert integers(answered(again, tasks({0: (0,), 2: (0,)})).answer).equal(without)


def test_a_hosted_node_whose_speakers_have_all_left_is_named_with_the_remedy(manifest, tmp_path):
    record(tmp_path, [Departure.now("train-02", "")])
    here = host(manifest, 0, {"node-state": str(tmp_path)}, nodes=7)
    expected = "all speakers of this node have left: it has part 2 of 7; simulate fewer nodes"
    assert ask(here)["problem"] == expected


def test_a_supernode_with_speech_of_its_own_hosts_nobody(manifest):
    own = {"corpus-path": str(manifest), "limits": "none"}
    flat = {**default_config(), "training.hosted-nodes": 3}
    alien = Context(run_id=1, node_id=HOST, node_config=own, state=RecordDict(), run_config=flat)
    assert "training.hosted-nodes = 3" in ask(alien)["problem"]
    message = HostTask(tasks=tasks({0: (0,), 2: (0,)})).to_message(HOST, pack_vector(VECTOR), 600.0)
    assert "training.hosted-nodes = 3" in app(message, alien).content["answer"]["problem"]


def test_more_hosts_than_nodes_is_an_error_with_the_remedy(manifest):
    assert "--hosts" in ask(host(manifest, 1, nodes=1))["problem"]


def test_what_nodes_keep_beside_the_update_is_refused_before_anything_starts():
    flat = {**default_config(), "training.hosted-nodes": 9, "local.algorithm": "scaffold"}
    flat |= {"privacy.noise-multiplier": 0.0, "local.momentum": 0.0}
    with pytest.raises(ConfigError, match=r"training.hosted-nodes = 9 \(--hosts\) and local.algorithm"):
        RunConfig.from_flat(flat)


def test_messages_have_few_speakers_each_and_every_node_is_in_one():
    hosted = Hosted(hosts={0: 70, 1: 71}, parts=2, nodes=200)
    of_nodes = tasks({node: tuple(range(1 + node % 3)) for node in range(200)})
    sent = list(hosted.messages(of_nodes, pack_vector(VECTOR), 600.0))
    assert sorted(node for nodes, _ in sent for node in nodes) == list(range(200))
    for nodes, message in sent:
        assert {70 + node % 2 for node in nodes} == {message.metadata.dst_node_id}
        assert Task.speakers_in(message) <= 32
        assert HostTask.from_message(message)[0].tasks == {node: of_nodes[node] for node in nodes}
    assert len(sent) == 14


def test_a_node_with_many_drawn_speakers_has_a_message_of_its_own():
    hosted = Hosted(hosts={0: 70}, parts=1, nodes=3)
    sent = hosted.messages(tasks({0: (0,), 1: tuple(range(40)), 2: (0,)}), pack_vector(VECTOR), 600.0)
    assert [nodes for nodes, _ in sent] == [(0,), (1,), (2,)]
