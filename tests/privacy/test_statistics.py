import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from privacy import ClipBounds, Grid, LayerLayout, check_sum
from privacy.statistics import STATISTICS, Statistic, add_statistics_, read_statistics

LAYOUT = LayerLayout.of([("a", (5,)), ("b", (2, 3))])
BOUNDS = ClipBounds.of("uniform", 0.7, LAYOUT, statistics=len(STATISTICS))
GRID = Grid.of(BOUNDS)
ANYTHING = st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(st.tuples(ANYTHING, ANYTHING), min_size=1, max_size=5))
def test_guarantee_statistics_of_a_speaker_stay_within_their_bound(values):
    total = torch.zeros(BOUNDS.size, dtype=torch.int32)
    for value in values:
        add_statistics_(total, value, BOUNDS, GRID)
    check_sum(total, len(values), BOUNDS, GRID)
    steps = float(total[-len(STATISTICS) :].double().norm())
    assert steps <= len(values) * BOUNDS.bounds[-1] / GRID.step


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 10)), min_size=1, max_size=20))
def test_without_noise_the_mean_is_read_back(values):
    total = torch.zeros(BOUNDS.size, dtype=torch.int32)
    for value in values:
        add_statistics_(total, value, BOUNDS, GRID)
    read = read_statistics(total[-len(STATISTICS) :].double(), len(values), BOUNDS, GRID)
    for index, statistic in enumerate(STATISTICS):
        mean = sum(value[index] for value in values) / len(values)
        assert read[statistic.name] == pytest.approx(mean, abs=1e-3)


def test_the_model_coordinates_are_not_touched():
    total = torch.zeros(BOUNDS.size, dtype=torch.int64)
    add_statistics_(total, (1.0, 10.0), BOUNDS, GRID)
    assert not total[: LAYOUT.size].any()


def test_an_empty_cohort_has_no_mean():
    read = read_statistics(torch.zeros(len(STATISTICS)), 0, BOUNDS, GRID)
    assert all(math.isnan(value) for value in read.values())


def test_an_impossible_range_is_refused():
    with pytest.raises(ValueError, match=r"low=2.0 must be below high=1.0"):
        Statistic(name="x", low=2.0, high=1.0)
