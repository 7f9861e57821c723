"""A round whose nodes are held by hosts: the sum, and what is said of nodes without a part in it."""

from dataclasses import replace

import pytest
import torch

from privacy import ReplyRejected
from strategies import StreamingGrid
from strategies.aggregation import CohortSum
from strategies.hosting import Hosted
from strategies.round import LATE
from tests.strategies.federation import BOUNDS, LAYOUT, QUANTISER, answer_to, failing, make_strategy, silent
from tests.strategies.flower import FakeGrid
from wire.hosting import HostAnswer, HostTask
from wire.messages import Task, problem

NODES, HOSTS = 9, 3


def update_of(node):
    return torch.full((LAYOUT.size,), 1e-3 * (node + 1))


def answer_of(tasks, together, problems=()):
    answered = {node: task for node, task in tasks.items() if node not in problems}
    task = replace(together, speakers=tuple(answered))  # each node's own speaker, by the node's number
    return HostAnswer(answer=answer_to(task, update_of), problems=dict(problems))


def host(problems=(), change=lambda content: content):
    def answer(message):
        hosted, together, _ = HostTask.from_message(message)
        return change(answer_of(hosted.tasks, together, dict(problems)).to_record())

    return answer


def one_round(folder, hosts, nodes=NODES, **options):
    """A round without noise of all nodes on these hosts; returns its report and the mean."""
    strategy = make_strategy(folder, dict.fromkeys(range(nodes), 1), cohort=nodes, z=0.0, rounds=1, **options)
    hosted = Hosted(hosts={part: 70 + part for part in range(HOSTS)}, parts=HOSTS, nodes=nodes)
    strategy.run = replace(strategy.run, addressing=hosted)
    before = strategy.vector.clone()
    grid = FakeGrid({70 + part: one for part, one in enumerate(hosts)})
    strategy.start(StreamingGrid(grid), strategy.arrays(), num_rounds=1, timeout=1.0)
    return strategy.last_report, before - strategy.vector


def expected(nodes):
    return sum(update_of(node) for node in nodes) / NODES


def test_a_round_is_the_sum_over_all_nodes_of_all_hosts(tmp_path):
    report, mean = one_round(tmp_path, [host()] * HOSTS)
    assert (report.drawn, report.nodes_asked, report.nodes_answered, report.dropped) == (9, 9, 9, ())
    assert torch.allclose(mean, expected(range(NODES)), atol=1e-5)
    assert [one.node for one in report.traffic] == [70, 71, 72]
    assert report.bytes_down == 3 * report.traffic[0].bytes_down


def test_nodes_without_an_answer_are_named_each_with_its_reason(tmp_path):
    hosts = [host({3: "this node is full"}), failing("the worker died"), silent]
    report, mean = one_round(tmp_path, hosts)
    assert report.nodes_answered == 2
    assert torch.allclose(mean, expected([0, 6]), atol=1e-5)
    reasons = {drop.node: drop.reason for drop in report.dropped}
    assert reasons == {
        3: "this node is full",
        **dict.fromkeys((1, 4, 7), "Flower error 2: the worker died"),
        **dict.fromkeys((2, 5, 8), LATE),
    }
    assert not any(drop.refused for drop in report.dropped)


def test_metrics_without_noise_come_once_from_a_host_and_are_of_all_its_messages(tmp_path):
    """Readers of their file take one line a round and SuperNode."""
    told = []

    def keep(round_number, node, raw):
        told.append((round_number, node, raw.trained))

    report, _ = one_round(tmp_path, [host()] * HOSTS, nodes=HOSTS * 40, on_raw_metrics=keep)
    assert report.nodes_answered == HOSTS * 40
    assert sorted(told) == [(1, 70 + part, 40) for part in range(HOSTS)]


def without_the_list(content):
    del content["hosted"]
    return content


def names_others(content):
    content["hosted"]["failed"], content["hosted"]["reasons"] = [1], ["not mine"]
    return content


def counts_one_less(content):
    content["answer"]["count"] -= 1
    return content


@pytest.mark.parametrize("change", [without_the_list, names_others, counts_one_less])
def test_a_reply_that_is_not_of_its_nodes_changes_nothing(tmp_path, change):
    report, mean = one_round(tmp_path, [host(change=change), host(), host()])
    assert {drop.node for drop in report.dropped if drop.refused} == {0, 3, 6}
    assert torch.allclose(mean, expected([1, 2, 4, 5, 7, 8]), atol=1e-5)


def test_a_host_without_any_answer_says_why(tmp_path):
    report, _ = one_round(tmp_path, [lambda message: problem("its disk is gone"), host(), host()])
    assert {drop.node for drop in report.dropped} == {0, 3, 6}
    assert all(drop.reason == "the node reports: its disk is gone" for drop in report.dropped)


def test_a_sum_of_several_nodes_is_added_once_and_only_for_nodes_that_are_asked():
    labels = {"round_number": 1, "nonce": "n", "layout": "l", "bounds": BOUNDS, "quantiser": QUANTISER}
    tasks = {node: Task(speakers=(0,), **labels) for node in range(3)}
    total = CohortSum(tasks, bounds=BOUNDS, quantiser=QUANTISER)
    both = answer_to(Task(speakers=(0, 1), **labels), update_of)
    for nodes in ((), (0, 9), (9,), (0,), (0, 1, 2)):
        with pytest.raises(ReplyRejected):
            total.add_together(nodes, both)
    assert total.nodes == 0 and not total.integers.any()
    total.add_together((0, 2), both)
    with pytest.raises(ReplyRejected, match="answered already"):
        total.add_together((1, 2), both)
    assert (total.nodes, total.speakers, total.silent_nodes()) == (2, 2, [1])
