"""Bounds obey the paper's formulas, and their total is the promised C whatever the rule."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.registries import CLIP_RULES
from privacy.clipping.bounds import CLIP_ACTIONS, ClipBounds
from privacy.layout import LayerLayout

LAYOUT = LayerLayout.of({"w": (3, 4), "b": (4,), "scale": ()})


@given(
    rule=st.sampled_from(sorted(CLIP_RULES)),
    action=st.sampled_from(sorted(CLIP_ACTIONS)),
    total=st.floats(1e-6, 1e6),
    sizes=st.lists(st.integers(1, 10**6), min_size=1, max_size=40),
    exponent=st.floats(0, 1),
    statistics=st.integers(0, 3),
    share=st.floats(0.01, 0.9),
)
def test_clip_bounds_guarantee(
    rule: str,
    action: str,
    total: float,
    sizes: list[int],
    exponent: float,
    statistics: int,
    share: float,
) -> None:
    """Groups held to their bounds are together within C, and every coordinate lies in one group."""
    layout = LayerLayout.of([(str(index), (size,)) for index, size in enumerate(sizes)])
    bounds = ClipBounds.of(
        rule,
        total,
        layout,
        action=action,
        exponent=exponent,
        statistics=statistics,
        statistics_share=share,
    )
    assert bounds.total == pytest.approx(total, rel=1e-12)
    assert math.hypot(*map(bounds.group_bound, bounds.groups)) == pytest.approx(total, rel=1e-12)
    assert [index for group in bounds.groups for index in group] == list(range(len(bounds)))
    assert (bounds.model_size, bounds.size) == (layout.size, layout.size + statistics)
    if statistics:
        assert bounds.bounds[-1] == pytest.approx(total * share)


def test_rules_are_the_papers() -> None:
    assert ClipBounds.of("global", 2.0, LAYOUT).bounds == pytest.approx((2.0,))
    assert ClipBounds.of("uniform", 2.0, LAYOUT).bounds == pytest.approx((2 / math.sqrt(3),) * 3)
    dim = [2.0 * math.sqrt(size / 17) for size in (12, 4, 1)]
    assert ClipBounds.of("dim", 2.0, LAYOUT).bounds == pytest.approx(dim)
    power = ClipBounds.of("power", 2.0, LAYOUT, exponent=0.25).bounds
    assert power[0] / power[2] == pytest.approx(12**0.25)
    for exponent, same in ((0.0, "uniform"), (0.5, "dim")):
        assert ClipBounds.of("power", 2.0, LAYOUT, exponent=exponent).bounds == pytest.approx(
            ClipBounds.of(same, 2.0, LAYOUT).bounds
        )


def test_global_has_one_slice_and_normalise_one_group() -> None:
    assert ClipBounds.of("global", 1.0, LAYOUT).offsets == (0, 17)
    assert ClipBounds.of("uniform", 1.0, LAYOUT).groups == (range(0, 1), range(1, 2), range(2, 3))
    together = ClipBounds.of("uniform", 1.0, LAYOUT, action="normalise", statistics=2)
    assert together.groups == (range(0, 3), range(3, 4))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rule": "nope"}, "'global'"),
        ({"action": "nope"}, "'normalise'"),
        ({"total": 0.0}, "total"),
        ({"total": math.nan}, "total"),
        ({"statistics": -1}, "statistics"),
        ({"statistics": 1, "statistics_share": 1.0}, "statistics_share"),
        ({"exponent": math.inf}, "exponent"),
    ],
)
def test_bad_values_are_named(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClipBounds.of(**{"rule": "dim", "total": 1.0, "layout": LAYOUT, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("offsets", "bounds", "statistics"),
    [
        ((0, 2), (1.0, 1.0), 0),
        ((1, 2), (1.0,), 0),
        ((0, 3, 2), (1.0, 1.0), 0),
        ((0, 2), (0.0,), 0),
        ((0, 2), (math.inf,), 0),
        ((0, 2, 4), (1.0, 1.0), 1),
        ((0, 2), (1.0,), 2),
        ((0,), (), 0),
    ],
)
def test_impossible_partitions_are_refused(
    offsets: tuple[int, ...], bounds: tuple[float, ...], statistics: int
) -> None:
    with pytest.raises(ValueError):
        ClipBounds(offsets=offsets, bounds=bounds, statistics=statistics)


def test_a_rule_cannot_be_registered_twice() -> None:
    with pytest.raises(ValueError, match="registered already"):
        CLIP_RULES.add("dim")
