"""The shortcuts err by no more than they say, and the clip that uses them keeps its bound."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import ClipBounds, Grid, LayerLayout, ReplyRejected, add_clipped_, check_sum, float32
from privacy.grid import squared_limits

SIZE = 300_001
BOUNDS = ClipBounds.of("uniform", 1.0, LayerLayout.of({"a": (SIZE,), "b": (SIZE,), "c": (5,)}), statistics=2)
GRID = Grid.of(BOUNDS)


def vector(size: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)) * scale


def squared(integers: torch.Tensor) -> int:
    """Exact: the squares are below 2**50, and a few hundred thousand of them below 2**63 here."""
    return int((integers.long() ** 2).sum())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 9), st.floats(-8, 15), st.integers(1, 5000))
def test_norm_guarantee(seed: int, exponent: float, size: int) -> None:
    """Within a share of NORM_ERROR of float64, also for values of very different sizes."""
    values = vector(size, seed, 10**exponent) * vector(size, seed + 1).exp()
    true = values.double().norm().item()
    assert abs(float32.norm(values) - true) <= float32.NORM_ERROR * true


@pytest.mark.parametrize("values", [[math.nan, 1], [math.inf, 1], [1e30, 1], [1e-15, 0], [0, 0]])
def test_norm_says_when_it_cannot_tell(values: list[float]) -> None:
    assert float32.norm(torch.tensor(values * 1024, dtype=torch.float32)) is None


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("factor", [1e-3, 1.0, 4321.987])
def test_add_rounded_is_rounding_and_addition(dtype: torch.dtype, factor: float) -> None:
    values = vector(SIZE, 1) * 100
    total = torch.arange(SIZE, dtype=dtype) - 7
    float32.add_rounded_(total, values, factor)
    added = (total - torch.arange(SIZE, dtype=dtype) + 7).double()
    exact = values.double() * factor
    assert bool(((added - exact).abs() <= 0.5 + exact.abs() * 2.0**-22).all())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 9), st.floats(-3, 3), st.booleans())
def test_reach_guarantee(seed: int, exponent: float, alike: bool) -> None:
    """What is added is never longer; with values that all round away from zero, hardly shorter."""
    values = torch.full((5000,), 0.51) if alike else vector(5000, seed)
    factor = 1.0 if alike else 10**exponent
    total = torch.zeros(5000, dtype=torch.int64)
    float32.add_rounded_(total, values, factor)
    norm = float32.norm(values)
    assert norm is not None
    assert math.sqrt(squared(total)) <= float32.reach([norm], [factor], 5000)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 9), st.floats(0, 6))
def test_squared_at_most_guarantee(seed: int, exponent: float) -> None:
    integers = (vector(200_003, seed) * 10**exponent).to(torch.int64)
    true = squared(integers)
    assert true <= float32.squared_at_most(integers) <= true * (1 + 2.0**-12)


@pytest.mark.parametrize("action", ["clip", "normalise"])
@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 1e12, 1e25, 1e-25])
def test_add_clipped_guarantee_for_large_slices(action: str, scale: float) -> None:
    bounds = ClipBounds(offsets=BOUNDS.offsets, bounds=BOUNDS.bounds, statistics=2, action=action)
    update = vector(bounds.size, 2, scale)
    update[SIZE : 2 * SIZE] *= 1e-3
    total = torch.zeros(bounds.size, dtype=torch.int32)
    add_clipped_(total, update, bounds, GRID)
    assert squared(total) <= 4**GRID.bits
    for group, limit in zip(bounds.groups, squared_limits(bounds, GRID), strict=True):
        part = total[bounds.offsets[group.start] : bounds.offsets[group.stop]]
        assert squared(part) <= limit
    slow = torch.zeros(bounds.size, dtype=torch.int32)
    add_clipped_(slow, update.double(), bounds, GRID)  # float64: every step counted exactly
    assert (total - slow).abs().max() <= 1 + 3 * float32.NORM_ERROR * slow.abs().max()


@pytest.mark.parametrize("length", [0.995, 1.0, 1.005, 50.0])
def test_a_large_slice_loses_no_more_than_its_margin_and_the_errors_allowed_for(length: float) -> None:
    update = torch.zeros(BOUNDS.size)
    update[:SIZE] = vector(SIZE, 3)
    update *= BOUNDS.bounds[0] * length / update.norm().item()
    total = torch.zeros(BOUNDS.size, dtype=torch.int32)
    add_clipped_(total, update, BOUNDS, GRID)
    kept = math.sqrt(squared(total)) * GRID.step / BOUNDS.bounds[0]
    lost = GRID.margin(SIZE) / BOUNDS.bounds[0] + 4 * float32.NORM_ERROR
    assert min(length, 1) - 1.01 * lost <= kept <= 1


@pytest.mark.parametrize("where", [0, SIZE - 1, 2 * SIZE - 1, 2 * SIZE])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_one_bad_entry_beside_large_slices_removes_the_update(where: int, bad: float) -> None:
    update = vector(BOUNDS.size, 4)
    update[where] = bad
    total = torch.full((BOUNDS.size,), 5, dtype=torch.int32)
    assert add_clipped_(total, update, BOUNDS, GRID) == 0.0
    assert bool((total == 5).all())


def test_what_is_not_proven_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a margin that is wrong, the shortcut must not be taken and the exact count must shrink."""
    monkeypatch.setattr(Grid, "margin", lambda self, size: -0.9 * math.sqrt(size / BOUNDS.size))
    monkeypatch.setattr(float32, "add_rounded_", lambda *arguments: pytest.fail("not proven"))
    total = torch.zeros(BOUNDS.size, dtype=torch.int32)
    add_clipped_(total, vector(BOUNDS.size, 5), BOUNDS, GRID)
    assert 0 < squared(total[:SIZE]) <= squared_limits(BOUNDS, GRID)[0]


def test_a_large_sum_just_within_its_bound_passes_and_just_beyond_is_refused() -> None:
    """Too close for float32 to tell: the exact count decides."""
    limit = squared_limits(BOUNDS, GRID)[0]
    total = torch.zeros(BOUNDS.size, dtype=torch.int64)
    total[3] = math.isqrt(limit)
    check_sum(total, 1, BOUNDS, GRID)
    total[3] += 1
    with pytest.raises(ReplyRejected, match="slice 0"):
        check_sum(total, 1, BOUNDS, GRID)
