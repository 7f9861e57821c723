import torch
from flwr.app import ConfigRecord

from privacy import packed_bytes
from tests.strategies.federation import BOUNDS, LAYOUT, QUANTISER, failing, honest, make_strategy
from tests.strategies.flower import FakeGrid
from wire.messages import pack_vector
from wire.traffic import Traffic, array_bytes

NPY_HEADER = 128
MODEL = 4 * LAYOUT.size + NPY_HEADER


def traffic_of(folder, update, nodes=None):
    """The traffic of one round in which everyone is drawn."""
    folder.mkdir()
    strategy = make_strategy(folder, {1: 2, 2: 3})
    grid = FakeGrid(nodes or dict.fromkeys((1, 2), honest(lambda number: update)))
    messages = strategy.configure_train(1, strategy.arrays(), ConfigRecord(), grid)
    strategy.aggregate_train(1, iter(grid.send_and_receive(messages)))
    return strategy.last_report


def test_bytes_are_those_of_the_model_and_of_the_packed_sums(tmp_path):
    report = traffic_of(tmp_path / "a", torch.ones(LAYOUT.size))
    up = [packed_bytes(count, BOUNDS, QUANTISER) + NPY_HEADER for count in (2, 3)]
    assert report.traffic == tuple(
        Traffic(node=node, bytes_down=MODEL, bytes_up=up[node - 1]) for node in (1, 2)
    )
    assert (report.bytes_down, report.bytes_up) == (2 * MODEL, sum(up))


def test_bytes_say_nothing_about_the_speech(tmp_path):
    """What compresses best, worst, and not at all."""
    updates = (torch.zeros(LAYOUT.size), torch.randn(LAYOUT.size), torch.full((LAYOUT.size,), torch.nan))
    reports = [traffic_of(tmp_path / str(number), update) for number, update in enumerate(updates)]
    assert len({report.traffic for report in reports}) == 1


def test_a_node_without_a_usable_answer_brought_nothing(tmp_path):
    nodes = {1: failing(), 2: honest(lambda number: torch.zeros(LAYOUT.size))}
    report = traffic_of(tmp_path / "a", None, nodes)
    assert [one.bytes_up > 0 for one in report.traffic] == [False, True]
    assert report.bytes_down == 2 * MODEL


def test_only_arrays_are_counted():
    assert array_bytes({"model": pack_vector(torch.zeros(5)), "task": ConfigRecord({"a": 1})}) == 20 + 128
