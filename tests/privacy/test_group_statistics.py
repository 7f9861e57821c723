import math

import pytest
import torch

from base.clip_groups import ClipGroups
from privacy import (
    ClipBounds,
    LayerLayout,
    PrivacyPlan,
    Quantiser,
    charge_of,
    make_noise,
    unclipped_slices,
)
from privacy.group_statistics import RunStatistics, bounds_with_statistics, most_statistics
from privacy.layer_groups import layer_groups
from privacy.released_metrics import STATISTICS, add_statistics_, unit_in_steps

LAYOUT = LayerLayout.of({"front.w": (6, 4), "blocks.0.w": (9,), "blocks.0.b": (3,), "out": (5,)})
GROUPS = ["front", "blocks.0", "out"]


def bounds_of(rule="uniform", layout=LAYOUT, **settings):
    return bounds_with_statistics(rule, 1.0, layout, by_group=True, **settings)


@pytest.mark.parametrize(
    ("settings", "shares"),
    [
        ({"rule": "uniform"}, True),
        ({"rule": "dim", "action": "normalise"}, True),
        ({"rule": "power", "adaptive": True}, True),
        ({"rule": "global"}, False),
        ({"rule": "global", "clip_groups": ClipGroups.read("front*=0.5,*=0.5")}, True),
    ],
)
def test_the_list_has_norms_and_where_slices_differ_shares(settings, shares):
    bounds = bounds_of(**settings)
    names = [one.name for one in RunStatistics.in_bounds(LAYOUT, bounds).statistics[len(STATISTICS) :]]
    expected = [f"update_norm/{one}" for one in GROUPS] + shares * [f"clipped_share/{one}" for one in GROUPS]
    assert names == expected and bounds.statistics == 2 + len(expected) <= most_statistics(LAYOUT)
    assert bounds.total == pytest.approx(1.0)


def test_a_slice_that_ends_within_a_tensor_has_norms_alone():
    bounds = ClipBounds(offsets=(0, 10, 41, 46), bounds=(0.6, 0.8, 0.1), statistics=5)
    found = RunStatistics.in_bounds(LAYOUT, bounds)
    assert found.slice_of is None and found.slices == ((0, 1), (1,), (1,))


def test_without_the_option_the_bounds_are_as_ever():
    plain = bounds_with_statistics("dim", 0.3, LAYOUT, by_group=False)
    assert plain == ClipBounds.of("dim", 0.3, LAYOUT, statistics=2)
    assert bounds_with_statistics("dim", 0.3, LAYOUT, by_group=True).bounds == plain.bounds


@pytest.mark.parametrize("statistics", [0, 1, 3, 7, 9, 400])
def test_any_other_number_of_statistics_is_refused(statistics):
    bounds = ClipBounds.of("uniform", 1.0, LAYOUT, statistics=statistics)
    with pytest.raises(
        ValueError, match=f"have {statistics} statistics; a run of this model has 2, or 8 with"
    ):
        RunStatistics.in_bounds(LAYOUT, bounds)


def test_bounds_of_another_model_are_refused():
    other = LayerLayout.of({"front.w": (7,)})
    with pytest.raises(ValueError, match="are for 7 coordinates, the model has 41"):
        RunStatistics.in_bounds(LAYOUT, bounds_of(layout=other))


@pytest.mark.parametrize("rule", ["uniform", "global"])
def test_without_noise_geometric_means_and_shares_are_read_back(rule):
    bounds = bounds_of(rule)
    quantiser, statistics = Quantiser.of(bounds, bits=24), RunStatistics.in_bounds(LAYOUT, bounds)
    total, updates = torch.zeros(bounds.size, dtype=torch.int64), []
    for seed, size in enumerate((0.01, 0.1, 0.3)):
        update = size * torch.randn(LAYOUT.size, generator=torch.Generator().manual_seed(seed))
        updates.append(update)
        padded = torch.cat([update, torch.zeros(bounds.statistics)])
        values = statistics.values(
            update, unclipped_slices(padded, bounds), clipped_share=0.5, loss=2.0, bounds=bounds
        )
        add_statistics_(total, values, bounds, quantiser, statistics.statistics)
    fixed, groups = statistics.read(total[bounds.statistics_part].double(), 3.0, bounds, quantiser)
    assert fixed == {"clipped_share": pytest.approx(0.5), "train_loss": pytest.approx(2.0, abs=1e-5)}
    for group, known in zip(layer_groups(LAYOUT), groups, strict=True):
        norms = [[update_norm(update, one) for one in group.tensors] for update in updates]
        mean = math.exp(sum(math.log(math.hypot(*one)) for one in norms) / 3)
        assert (known.name, known.update_norm) == (group.name, pytest.approx(mean, rel=1e-4))
        if rule == "global":
            assert known.clipped_share is None
            continue
        above = [
            norm > bounds.bounds[one] for row in norms for norm, one in zip(row, group.tensors, strict=True)
        ]
        assert 0 < sum(above) < len(above)
        assert known.clipped_share == pytest.approx(sum(above) / len(above), abs=1e-5)


def update_norm(update, tensor):
    begin, end = LAYOUT.offsets[tensor : tensor + 2]
    return float(update[begin:end].double().norm())


def test_extreme_norms_count_as_the_ends_of_the_range():
    bounds = bounds_of()
    statistics = RunStatistics.in_bounds(LAYOUT, bounds)
    norms = {}
    for size in (0.0, 1e-45, 1e-30, 1e30):
        update = torch.full((LAYOUT.size,), size)
        values = statistics.values(update, (True,) * 4, clipped_share=0.0, loss=0.0, bounds=bounds)
        pairs = zip(statistics.statistics, values, strict=True)
        norms[size] = [one.to_unit(value) for one, value in pairs if one.name.startswith("update_norm")]
    assert norms == {0.0: [-1.0] * 3, 1e-45: [-1.0] * 3, 1e-30: [-1.0] * 3, 1e30: [1.0] * 3}


def test_noise_alone_is_a_number_however_large_it_is():
    bounds = bounds_of()
    quantiser, statistics = Quantiser.of(bounds), RunStatistics.in_bounds(LAYOUT, bounds)
    for value in (1e300, -1e300):
        _, groups = statistics.read(torch.full((8,), value, dtype=torch.float64), 1.0, bounds, quantiser)
        assert all(0 < one.update_norm < math.inf for one in groups)


def test_guarantee_epsilon_is_that_of_the_same_run_without_them():
    """The charge is the plan's, C and the noise on a coordinate are the same; a statistic has less of C."""
    plan = PrivacyPlan(population=900, cohort=9.0, rounds=8, noise_multiplier=1.0, delta=1e-6)
    plain, more = (bounds_with_statistics("dim", 0.3, LAYOUT, by_group=one) for one in (False, True))
    steps = [Quantiser.of(one) for one in (plain, more)]
    assert charge_of(plan, make_noise(plan), 0) == plan.release
    assert plain.total == more.total and plain.bounds == more.bounds and steps[0] == steps[1]
    units = [unit_in_steps(one, step) for one, step in zip((plain, more), steps, strict=True)]
    assert units[0] / units[1] == pytest.approx(math.sqrt(8 / 2), rel=1e-4)
