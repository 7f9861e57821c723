"""Predicted rounds at scale, from plain numbers."""

from dataclasses import replace

from benchmarks.scale import COHORTS, FEW, MACHINES, TITLES, Checked, Model, page, rows
from cli.run.round_costs import SUM, TRAINING, UP, ValueCosts
from privacy import ClipBounds, Quantiser

BOUNDS = ClipBounds(offsets=(0, 1000), bounds=(1.0,))
MODEL = Model(
    name="a small",
    update=0.05,
    value=ValueCosts(clip=1e-9, pack=1e-9, add=1e-9, noise=1e-9, step=1e-9),
    bounds=BOUNDS,
    quantiser=Quantiser.of(BOUNDS),
)


def test_what_takes_longest_changes_from_training_to_the_servers_thread_with_the_machines():
    assert MODEL.round(10_000, 10_000, 1).bottleneck == TRAINING
    assert MODEL.round(10_000, 10_000, 64).bottleneck == SUM
    assert MODEL.round(10_000, FEW, 64).bottleneck == TRAINING


def test_sums_of_many_nodes_fill_the_network_with_a_large_model():
    bounds = ClipBounds(offsets=(0, 255_800_864), bounds=(1.0,))
    large = replace(MODEL, bounds=bounds, quantiser=Quantiser.of(bounds), update=1.0)
    assert large.round(10_000, 10_000, 64).bottleneck == UP


def test_the_page_has_a_row_for_each_cohort_kind_of_node_and_number_of_machines():
    found = list(rows(MODEL))
    assert len(found) == len(COHORTS) * 2 * len(MACHINES) and {len(row) for row in found} == {len(TITLES)}


def test_a_prediction_is_good_within_a_quarter():
    checked = [
        Checked(speakers=64, nodes=8, predicted=1.0, measured=1.1),
        Checked(speakers=64, nodes=64, predicted=1.0, measured=2.0),
    ]
    text, ratios = page([MODEL], checked, load=0.0)
    assert [one.verdict for one in ratios] == ["met", "**not met**"]
    assert "| 64 | 64 | 1.00 | 2.00 | 0.50 | **not met** |" in text
