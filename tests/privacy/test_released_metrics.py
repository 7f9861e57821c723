import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from privacy import ClipBounds, LayerLayout, Quantiser
from privacy.clipping.quantisation import squared_limits
from privacy.released_metrics import STATISTICS, Statistic, add_statistics_, read_statistics
from tests.privacy.sum_checks import check_sum

LAYOUT = LayerLayout.of([("a", (5,)), ("b", (2, 3))])
BOUNDS = ClipBounds.of("uniform", 0.7, LAYOUT, statistics=len(STATISTICS))
QUANTISER = Quantiser.of(BOUNDS)
ANYTHING = st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(st.tuples(ANYTHING, ANYTHING), min_size=1, max_size=5))
def test_guarantee_statistics_of_a_speaker_stay_within_their_bound(values):
    total = torch.zeros(BOUNDS.size, dtype=torch.int32)
    for value in values:
        add_statistics_(total, value, BOUNDS, QUANTISER)
    check_sum(total, len(values), BOUNDS, QUANTISER)
    steps = float(total[-len(STATISTICS) :].double().norm())
    assert steps <= len(values) * BOUNDS.bounds[-1] / QUANTISER.step


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 10)), min_size=1, max_size=20))
def test_without_noise_the_mean_is_read_back(values):
    total = torch.zeros(BOUNDS.size, dtype=torch.int32)
    for value in values:
        add_statistics_(total, value, BOUNDS, QUANTISER)
    read = read_statistics(total[-len(STATISTICS) :].double(), len(values), BOUNDS, QUANTISER)
    for index, statistic in enumerate(STATISTICS):
        mean = sum(value[index] for value in values) / len(values)
        assert read[statistic.name] == pytest.approx(mean, abs=1e-3)


def test_the_model_coordinates_are_not_touched():
    total = torch.zeros(BOUNDS.size, dtype=torch.int64)
    add_statistics_(total, (1.0, 10.0), BOUNDS, QUANTISER)
    assert not total[: LAYOUT.size].any()


def test_a_round_in_which_nobody_was_drawn_looks_like_any_other():
    read = read_statistics(torch.zeros(len(STATISTICS)), 4.0, BOUNDS, QUANTISER)
    assert [read[one.name] for one in STATISTICS] == [(one.low + one.high) / 2 for one in STATISTICS]


def test_an_impossible_range_is_refused():
    with pytest.raises(ValueError, match=r"low=2.0 must be below high=1.0"):
        Statistic(name="x", low=2.0, high=1.0)
    with pytest.raises(ValueError, match="high=inf"):
        Statistic(name="x", low=0.0, high=math.inf)


@given(st.floats(0.01, 0.99), st.sampled_from([1, 2, 8, 20, 24]), st.sampled_from(["clip", "normalise"]))
def test_the_largest_statistics_stay_within_the_limit_to_the_last_step(share, bits, action):
    bounds = ClipBounds.of(
        "global", 0.3, LAYOUT, action=action, statistics=len(STATISTICS), statistics_share=share
    )
    quantiser = Quantiser(step=bounds.total / 2**bits, bits=bits)
    total = torch.zeros(bounds.size, dtype=torch.int64)
    add_statistics_(total, [one.high for one in STATISTICS], bounds, quantiser)
    assert int((total**2).sum()) <= squared_limits(bounds, quantiser)[-1]
