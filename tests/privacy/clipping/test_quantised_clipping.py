"""No update, of any dtype, size or content, moves the integer sum by more than the bound."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.clipping.bounds import ClipBounds
from privacy.clipping.quantisation import Quantiser, squared_limits
from privacy.clipping.quantised_clipping import add_clipped_
from privacy.layout import LayerLayout
from tests.privacy.sum_checks import check_sum, clip_to_steps

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
WHOLE = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
DTYPES = [*FLOATS, *WHOLE, torch.bool]
HOSTILE = [0.0, -0.0, 5e-324, 1e-45, 1e-38, 3e-308, 1.0, -1.0, 65504.0, 3e38, 1e154, 1e300]
HOSTILE += [math.inf, -math.inf, math.nan]


@st.composite
def bounds_of_any_kind(draw: st.DrawFn) -> ClipBounds:
    """Up to six slices, some perhaps empty, with or without statistics, for either action."""
    sizes = draw(st.lists(st.integers(0, 5), min_size=1, max_size=6))
    statistics = draw(st.integers(0, 2))
    sizes += [statistics] * bool(statistics)
    heights = draw(st.lists(st.floats(0.05, 1.0), min_size=len(sizes), max_size=len(sizes)))
    scale = draw(st.sampled_from([1e-8, 1e-2, 1.0, 1e5]))
    return ClipBounds(
        offsets=tuple(sum(sizes[:index]) for index in range(len(sizes) + 1)),
        bounds=tuple(height * scale for height in heights),
        statistics=statistics,
        action=draw(st.sampled_from(["clip", "normalise"])),
    )


@st.composite
def updates(draw: st.DrawFn, size: int) -> torch.Tensor:
    """Ordinary and hostile values of any real dtype."""
    dtype = draw(st.sampled_from(DTYPES))
    values = draw(st.lists(elements(draw, dtype), min_size=size, max_size=size))
    if dtype.is_floating_point:
        return torch.tensor(values, dtype=torch.float64).to(dtype)
    return torch.tensor(values, dtype=dtype)


def elements(draw: st.DrawFn, dtype: torch.dtype) -> st.SearchStrategy[float]:
    """Any value of the type: for floats ordinary and hostile ones, for integers small ones and all."""
    if dtype == torch.bool:
        return st.booleans()
    if not dtype.is_floating_point:
        info = torch.iinfo(dtype)
        return st.one_of(st.integers(max(-9, info.min), 9), st.integers(info.min, info.max))
    ordinary = st.floats(-1e4, 1e4).map(lambda value: value * 10 ** draw(st.integers(-8, 0)))
    return st.one_of(ordinary, st.sampled_from(HOSTILE))


def squared(integers: torch.Tensor) -> int:
    """The exact squared norm, in Python's integers."""
    return sum(value * value for value in integers.tolist())


@settings(max_examples=300)
@given(st.data())
def test_clip_to_grid_guarantee(data: st.DataObject) -> None:
    """The whole norm is within 2**bits steps, each group's within its bound; not finite means all zeros."""
    bounds = data.draw(bounds_of_any_kind())
    quantiser = Quantiser.of(bounds, bits=data.draw(st.sampled_from([8, 20, 24])))
    update = data.draw(updates(bounds.size))
    before = update.clone()
    clipped = clip_to_steps(update, bounds, quantiser)

    assert squared(clipped.integers) <= 4**quantiser.bits
    for group, limit in zip(bounds.groups, squared_limits(bounds, quantiser), strict=True):
        part = clipped.integers[bounds.offsets[group.start] : bounds.offsets[group.stop]]
        assert squared(part) <= limit
        assert math.sqrt(limit) * quantiser.step <= bounds.group_bound(group) * (1 + 1e-12)
    assert 0 <= clipped.clipped <= 1
    if not torch.isfinite(update).all():
        assert not clipped.integers.any()
    assert torch.equal(before.nan_to_num(), update.nan_to_num())
    check_sum(clipped.integers, 1, bounds, quantiser)


@settings(max_examples=100)
@given(st.data())
def test_add_clipped_guarantee(data: st.DataObject) -> None:
    """Adding in place is clip_to_steps and integer addition, in both dtypes and any order of replies."""
    bounds = data.draw(bounds_of_any_kind())
    quantiser = Quantiser.of(bounds)
    batch = [data.draw(updates(bounds.size)) for _ in range(data.draw(st.integers(0, 4)))]
    one_by_one = [clip_to_steps(update, bounds, quantiser) for update in batch]
    expected = sum((one.integers.long() for one in one_by_one), torch.zeros(bounds.size, dtype=torch.int64))
    for dtype in (torch.int32, torch.int64):
        total = torch.zeros(bounds.size, dtype=dtype)
        for update, one in reversed(list(zip(batch, one_by_one, strict=True))):
            assert add_clipped_(total, update, bounds, quantiser) == one.clipped
        assert torch.equal(total.long(), expected)
        check_sum(total, len(batch), bounds, quantiser)


@pytest.mark.parametrize("rule", ["global", "uniform", "dim", "power"])
@pytest.mark.parametrize("action", ["clip", "normalise"])
def test_values_are_those_of_the_definition(rule: str, action: str) -> None:
    """Against the formula in float64, coordinate by coordinate, to the precision of the quantisation."""
    layout = LayerLayout.of({"big": (300, 400), "small": (7,), "one": ()})
    bounds = ClipBounds.of(rule, 0.5, layout, action=action)
    quantiser = Quantiser.of(bounds)
    generator = torch.Generator().manual_seed(1)
    for scale in (1e-5, 1e-3, 1.0):
        update = torch.randn(layout.size, generator=generator) * scale
        update[-1] = 1e-7
        slices = [update[begin:end].double() for begin, end in pairwise(bounds.offsets)]
        norms = [part.norm().item() for part in slices]
        if action == "normalise":
            beyond = update.double().norm().item() > bounds.total
            factors = [
                bound / norm if beyond else 1.0 for bound, norm in zip(bounds.bounds, norms, strict=True)
            ]
        else:
            factors = [min(1.0, bound / norm) for bound, norm in zip(bounds.bounds, norms, strict=True)]
        expected = torch.cat([part * factor for part, factor in zip(slices, factors, strict=True)])
        result = clip_to_steps(update, bounds, quantiser)
        room = (
            quantiser.step / 2 + expected.abs() * quantiser.margin(layout.size) / min(bounds.bounds) + 1e-12
        )
        assert bool(((result.integers * quantiser.step - expected).abs() <= room).all())
        above = sum(norm > bound for norm, bound in zip(norms, bounds.bounds, strict=True)) / len(bounds)
        assert result.clipped == above


def test_update_within_bounds_is_only_rounded() -> None:
    bounds = ClipBounds(offsets=(0, 2, 3), bounds=(3.0, 4.0))
    quantiser = Quantiser.of(bounds)
    integers = clip_to_steps(torch.tensor([1.0, -0.5, 2.0]), bounds, quantiser).integers
    assert torch.equal(
        integers, torch.tensor([1 << 20, -(1 << 19), 1 << 21], dtype=torch.int32).div(5).round().int()
    )


@pytest.mark.parametrize("length", [0.995, 0.9999, 1.0, 1.0001, 1.005, 50.0])
def test_norms_around_the_bound_lose_no_more_than_the_rounding_margin(length: float) -> None:
    """The recount is a safety net: the clip itself must land below the bound, not far below."""
    bounds = ClipBounds.of("uniform", 1.0, LayerLayout.of({"a": (3_000,), "b": (100_000,)}))
    quantiser = Quantiser.of(bounds)
    update = torch.randn(bounds.size, generator=torch.Generator().manual_seed(4))
    for begin, end, bound in zip(bounds.offsets, bounds.offsets[1:], bounds.bounds, strict=False):
        update[begin:end] *= bound * length / update[begin:end].norm()
    integers = clip_to_steps(update, bounds, quantiser).integers
    for begin, end, bound in zip(bounds.offsets, bounds.offsets[1:], bounds.bounds, strict=False):
        kept = math.sqrt(squared(integers[begin:end])) * quantiser.step / bound
        assert min(length, 1) - 1.01 * quantiser.margin(end - begin) / bound <= kept <= 1


@pytest.mark.parametrize("where", [0, 70_000, 140_000, 140_001])
def test_one_entry_that_is_not_finite_removes_the_whole_update(where: int) -> None:
    bounds = ClipBounds.of("uniform", 1.0, LayerLayout.of({"a": (70_000,), "b": (70_001,)}), statistics=1)
    quantiser = Quantiser.of(bounds)
    for bad in (math.nan, math.inf, -math.inf):
        update = torch.ones(bounds.size)
        update[where] = bad
        total = torch.full((bounds.size,), 5, dtype=torch.int32)
        assert add_clipped_(total, update, bounds, quantiser) == 0.0
        assert bool((total == 5).all())


def test_a_slice_above_its_limit_is_taken_back_and_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exact recount holds even when the margin, on which it should never depend, is wrong."""
    bounds = ClipBounds.of("uniform", 1.0, LayerLayout.of({"a": (200_000,), "b": (3,)}))
    quantiser = Quantiser.of(bounds)
    monkeypatch.setattr(Quantiser, "margin", lambda self, size: -0.9 * math.sqrt(size / 200_003))
    update = torch.randn(bounds.size, generator=torch.Generator().manual_seed(2))
    total = torch.full((bounds.size,), 7, dtype=torch.int32)
    add_clipped_(total, update, bounds, quantiser)
    parts = (total - 7).split([200_000, 3])
    for part, limit in zip(parts, squared_limits(bounds, quantiser), strict=True):
        assert 0 < squared(part) <= limit


def test_large_vectors_use_up_their_bound() -> None:
    bounds = ClipBounds.of("dim", 0.01, LayerLayout.of({"a": (150_000,), "b": (65_536,), "c": (1,)}))
    quantiser = Quantiser.of(bounds)
    update = torch.randn(bounds.size, generator=torch.Generator().manual_seed(3))
    result = clip_to_steps(update, bounds, quantiser)
    assert result.clipped == 1.0
    assert 0.99 * 4**quantiser.bits <= squared(result.integers) <= 4**quantiser.bits


@pytest.mark.parametrize("action", ["clip", "normalise"])
@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 1e12, 1e25, 1e-25])
def test_add_clipped_guarantee_for_large_slices(action: str, scale: float) -> None:
    layout = LayerLayout.of({"a": (300_001,), "b": (300_001,), "c": (5,)})
    bounds = ClipBounds.of("uniform", 1.0, layout, statistics=2, action=action)
    quantiser = Quantiser.of(bounds)
    update = torch.randn(bounds.size, generator=torch.Generator().manual_seed(2)) * scale
    update[300_001:600_002] *= 1e-3
    integers = clip_to_steps(update, bounds, quantiser).integers
    assert squared(integers) <= 4**quantiser.bits
    for group, limit in zip(bounds.groups, squared_limits(bounds, quantiser), strict=True):
        part = integers[bounds.offsets[group.start] : bounds.offsets[group.stop]]
        assert squared(part) <= limit
    assert torch.equal(integers, clip_to_steps(update.double(), bounds, quantiser).integers)


def test_an_update_that_is_not_contiguous_is_clipped_as_its_copy() -> None:
    bounds = ClipBounds.of("uniform", 1.0, LayerLayout.of({"a": (7,), "b": (2,)}))
    quantiser = Quantiser.of(bounds)
    update = torch.randn(9, 2, generator=torch.Generator().manual_seed(6))[:, 1]
    assert torch.equal(
        clip_to_steps(update, bounds, quantiser).integers,
        clip_to_steps(update.clone(), bounds, quantiser).integers,
    )


@pytest.mark.parametrize("bad", [torch.zeros(4), torch.zeros(5, 1), torch.zeros(5, dtype=torch.complex64)])
def test_wrong_updates_and_accumulators_are_refused(bad: torch.Tensor) -> None:
    bounds = ClipBounds.of("global", 1.0, LayerLayout.of({"a": (5,)}))
    quantiser = Quantiser.of(bounds)
    with pytest.raises(ValueError, match="5 real values"):
        clip_to_steps(bad, bounds, quantiser)
    with pytest.raises(ValueError, match="accumulator"):
        add_clipped_(torch.zeros(5), torch.zeros(5), bounds, quantiser)
