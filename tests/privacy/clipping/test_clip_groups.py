"""Clip groups divide C and never add to it: for every division a person moves the sum by at most C."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from base.clip_groups import ClipGroups
from base.registries import CLIP_RULES
from privacy.clipping.adaptive import QuantileClip, add_indicators_, unclipped_slices
from privacy.clipping.bounds import ClipBounds
from privacy.clipping.quantisation import Quantiser, squared_limits
from privacy.clipping.quantised_clipping import add_clipped_
from privacy.layout import LayerLayout
from privacy.noise.shape import joint_multiplier, relative_stds
from privacy.sums.checked_sums import add_packed_
from privacy.sums.packing import pack
from tests.privacy.clipping.test_quantised_clipping import squared, updates
from tests.privacy.sum_checks import clip_to_steps

RULES = sorted(CLIP_RULES)


@st.composite
def groups_and_layouts(draw: st.DrawFn) -> tuple[ClipGroups, LayerLayout]:
    """Up to eight layers, scattered over up to four groups, in the order of the groups."""
    owners = draw(st.lists(st.integers(0, 3), min_size=1, max_size=8))
    used = sorted(set(owners))
    parts = draw(st.lists(st.floats(0.05, 1), min_size=len(used), max_size=len(used)))
    groups = ClipGroups(
        patterns=tuple(f"{owner}.*" for owner in used),
        shares=tuple(part / math.fsum(parts) for part in parts),
    )
    sizes = {f"{owner}.{index}": draw(st.integers(1, 5)) for index, owner in enumerate(owners)}
    return groups, LayerLayout.of((name, (sizes[name],)) for name in groups.ordered(list(sizes)))


def parts_of(groups: ClipGroups, layout: LayerLayout, bounds: ClipBounds) -> list[list[int]]:
    """For each clip group the slices that hold its coordinates."""
    ends, found = [0], []
    sizes = dict(zip(layout.names, layout.sizes, strict=True))
    for group in groups.members(layout.names):
        ends.append(ends[-1] + sum(sizes[name] for name in group))
    for begin, end in pairwise(ends):
        inside = range(bounds.model_slices)
        found.append([i for i in inside if begin <= bounds.offsets[i] and bounds.offsets[i + 1] <= end])
    return found


@settings(max_examples=200)
@given(
    fits=groups_and_layouts(),
    rule=st.sampled_from(RULES),
    action=st.sampled_from(["clip", "normalise"]),
    total=st.floats(1e-6, 1e6),
    exponent=st.floats(0, 1),
    statistics=st.integers(0, 3),
    adaptive=st.booleans(),
)
def test_clip_groups_guarantee(
    fits: tuple[ClipGroups, LayerLayout],
    rule: str,
    action: str,
    total: float,
    exponent: float,
    statistics: int,
    adaptive: bool,
) -> None:
    """All together have the bound C, each group the root of its share of what is left to the model."""
    groups, layout = fits
    bounds = ClipBounds.of(
        rule,
        total,
        layout,
        action=action,
        exponent=exponent,
        clip_groups=groups,
        statistics=statistics,
        adaptive=adaptive,
    )
    assert bounds.total == pytest.approx(total, rel=1e-9)
    assert bounds.model_size == layout.size
    of_model = math.sqrt(1 - 0.01 * bool(statistics) - 0.01 * adaptive) * total
    parts = parts_of(groups, layout, bounds)
    assert [index for part in parts for index in part] == list(range(bounds.model_slices))
    for part, share in zip(parts, groups.shares, strict=True):
        together = math.hypot(*(bounds.bounds[index] for index in part))
        assert together == pytest.approx(math.sqrt(share) * of_model, rel=1e-5)
        assert len(part) == 1 or rule != "global"


@settings(max_examples=100)
@given(data=st.data(), rule=st.sampled_from(RULES), action=st.sampled_from(["clip", "normalise"]))
def test_sensitivity_with_clip_groups_guarantee(data: st.DataObject, rule: str, action: str) -> None:
    """Two sums of which one lacks a person differ by at most C, counted exactly on the integers.

    With the action 'clip' no group differs by more than its own part of C.
    """
    groups, layout = data.draw(groups_and_layouts())
    bounds = ClipBounds.of(
        rule,
        data.draw(st.sampled_from([1e-6, 1.0, 1e4])),
        layout,
        action=action,
        clip_groups=groups,
        statistics=2,
    )
    quantiser = Quantiser.of(bounds, bits=data.draw(st.sampled_from([12, 20, 24])))
    others, person = [data.draw(updates(bounds.size)) for _ in range(2)], data.draw(updates(bounds.size))
    without, with_person = (torch.zeros(bounds.size, dtype=torch.int64) for _ in range(2))
    for update in others:
        add_clipped_(without, update, bounds, quantiser)
    for update in [others[0], person, others[1]]:
        add_clipped_(with_person, update, bounds, quantiser)
    moved = with_person - without
    assert squared(moved) <= 4**quantiser.bits
    for group, limit in zip(bounds.groups, squared_limits(bounds, quantiser), strict=True):
        assert squared(moved[bounds.offsets[group.start] : bounds.offsets[group.stop]]) <= limit
    if action == "clip":
        for part, share in zip(parts_of(groups, layout, bounds), groups.shares, strict=True):
            of_group = moved[bounds.offsets[part[0]] : bounds.offsets[part[-1] + 1]]
            assert squared(of_group) <= share * 4**quantiser.bits * (1 + 1e-6)

    total = torch.zeros(bounds.size, dtype=torch.int64)
    add_packed_(total, pack(with_person, 3, bounds, quantiser), 3, bounds, quantiser)
    assert torch.equal(total, with_person)


def test_global_clips_a_group_flat_whatever_lies_between_its_layers_in_the_model() -> None:
    """The formula, written out: all layers of a group are scaled by the same min(1, C_g / norm)."""
    model = {"encoder.0": 5, "decoder.0": 7, "encoder.1": 3, "decoder.1": 40}
    groups = ClipGroups.read("encoder.*=0.05,*=0.95")
    layout = LayerLayout.of((name, (model[name],)) for name in groups.ordered(list(model)))
    bounds = ClipBounds.of("global", 2.0, layout, clip_groups=groups)
    assert bounds.offsets == (0, 8, 55)
    assert bounds.bounds == pytest.approx((2 * math.sqrt(0.05), 2 * math.sqrt(0.95)))
    quantiser = Quantiser.of(bounds)
    update = torch.randn(55, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    update[:8] *= 1.0 / update[:8].norm()  # beyond 0.447
    update[8:] *= 1.5 / update[8:].norm()  # within 1.949
    expected = torch.cat([update[:8] * bounds.bounds[0], update[8:]])
    clipped = clip_to_steps(update, bounds, quantiser)
    assert torch.allclose(clipped.integers.double() * quantiser.step, expected, atol=1e-5, rtol=0)
    assert clipped.clipped == 0.5


@pytest.mark.parametrize("rule", ["uniform", "dim", "power"])
def test_in_a_group_a_rule_divides_as_it_does_in_a_model_of_those_layers_alone(rule: str) -> None:
    encoder, rest = {"encoder.0": (12,), "encoder.1": (4, 5)}, {"head": (3,), "bias": (2,), "scale": ()}
    groups = ClipGroups.read("encoder.*=0.36,*=0.64")
    bounds = ClipBounds.of(rule, 5.0, LayerLayout.of({**encoder, **rest}), clip_groups=groups)
    alone = [ClipBounds.of(rule, c, LayerLayout.of(of)) for c, of in ((3.0, encoder), (4.0, rest))]
    assert bounds.bounds == pytest.approx(alone[0].bounds + alone[1].bounds, rel=1e-12)


def test_one_group_is_no_groups_to_the_bit() -> None:
    layout = LayerLayout.of({"a": (7, 3), "b": (11,), "c": ()})
    for rule in RULES:
        plain = ClipBounds.of(rule, 0.3, layout, statistics=2)
        assert ClipBounds.of(rule, 0.3, layout, statistics=2, clip_groups=ClipGroups.read("*=1")) == plain


def test_a_layout_in_another_order_than_the_groups_is_refused() -> None:
    layout = LayerLayout.of({"encoder.0": (2,), "head": (2,), "encoder.1": (2,)})
    with pytest.raises(ValueError, match=r"has 'head' where its clip groups have 'encoder\.1': order the"):
        ClipBounds.of("dim", 1.0, layout, clip_groups=ClipGroups.read("encoder.*=0.5,*=0.5"))


@pytest.mark.parametrize("height", [5e-324, 1e-320, 1e-150, 1.0, 1e150])
def test_a_rule_whose_weights_lose_their_digits_gives_no_group_more_than_its_share(height: float) -> None:
    layout = LayerLayout.of([(name, (2,)) for name in ("a", "b", "c", "d", "e", "f")])
    groups = ClipGroups.read("[abc]=0.25,*=0.75")
    CLIP_RULES.add("coarse")(lambda sizes, exponent: [(size, height) for size in sizes])
    try:
        bounds = ClipBounds.of("coarse", 1.0, layout, clip_groups=groups)
        assert math.hypot(*bounds.bounds[:3]) == pytest.approx(0.5, rel=1e-9)
    except ValueError as error:
        assert height < 1e-300 and "float64 cannot scale to a clip group's" in str(error)
    finally:
        CLIP_RULES.remove("coarse")


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("shape", ["isotropic", "variance-optimal"])
def test_every_noise_shape_keeps_the_multiplier_of_the_plan(rule: str, shape: str) -> None:
    layout = LayerLayout.of({"encoder.0": (200,), "encoder.1": (10,), "head": (30,), "bias": (3,)})
    groups = ClipGroups.read("encoder.*=0.05,*=0.95")
    bounds = ClipBounds.of(rule, 1.0, layout, clip_groups=groups, statistics=2, adaptive=True)
    assert joint_multiplier(bounds, relative_stds(shape, bounds)) == pytest.approx(1.0)


def test_flat_groups_adapt_by_one_bit_each() -> None:
    """One indicator per group, and each group's bound moves to the quantile of that group's norms."""
    groups = ClipGroups.read("encoder.*=0.05,*=0.95")
    layout = LayerLayout.of({"encoder.0": (4,), "encoder.1": (2,), "head": (6,)})
    bounds = ClipBounds.of("global", 1.0, layout, clip_groups=groups, adaptive=True)
    assert bounds.indicators == 2
    quantiser, sums = Quantiser.of(bounds), torch.zeros(bounds.size, dtype=torch.int64)
    update = torch.cat([torch.full((6,), 1e-3), torch.full((6,), 9.0), torch.zeros(2)])
    bits = unclipped_slices(update, bounds)
    assert bits == (True, False)
    add_indicators_(sums, bits, bounds, quantiser)
    after = QuantileClip().next_bounds(sums[bounds.indicators_part], 1.0, bounds, quantiser)
    assert after.bounds[0] < bounds.bounds[0] and after.bounds[1] > bounds.bounds[1]
