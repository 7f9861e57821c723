"""A sum of honest updates always passes; what is longer than they can be is refused, and adds nothing."""

import math

import pytest
import torch

from privacy.clipping.bounds import ClipBounds
from privacy.clipping.quantisation import Quantiser, squared_limits
from privacy.errors import ReplyRejected
from privacy.layout import LayerLayout
from privacy.sums.checked_sums import add_checked_
from tests.privacy.sum_checks import check_sum, clip_to_steps

BOUNDS = ClipBounds.of("uniform", 1.0, LayerLayout.of({"a": (300_001,), "b": (5,)}), statistics=2)
QUANTISER = Quantiser.of(BOUNDS)


def test_check_sum_guarantee() -> None:
    """A sum beyond count times the bound is refused by slice; the largest honest sum passes."""
    bounds = ClipBounds.of("uniform", 1.0, LayerLayout.of({"a": (3,), "b": (2,)}), statistics=1)
    quantiser = Quantiser.of(bounds)
    one = clip_to_steps(torch.full((bounds.size,), 100.0), bounds, quantiser).integers.long()
    for count in (1, 7, 100_000):
        check_sum(one * count, count, bounds, quantiser)
        with pytest.raises(ReplyRejected, match=r"Coordinates 0 to 2 .*slice 0 of 3"):
            check_sum(one * (count + 1), count, bounds, quantiser)
    with pytest.raises(ReplyRejected, match="Coordinates 5 to 5"):
        check_sum(torch.tensor([0, 0, 0, 0, 0, 1 << 20]), 1, bounds, quantiser)
    with pytest.raises(ReplyRejected):
        check_sum(one, 0, bounds, quantiser)
    check_sum(torch.zeros_like(one), 0, bounds, quantiser)


@pytest.mark.parametrize(
    "total", [torch.zeros(4, dtype=torch.int32), torch.zeros(5), torch.zeros(5, dtype=torch.int16)]
)
def test_check_sum_refuses_what_is_no_sum(total: torch.Tensor) -> None:
    bounds = ClipBounds.of("global", 1.0, LayerLayout.of({"a": (5,)}))
    with pytest.raises(ReplyRejected, match="5 int32 or int64"):
        check_sum(total, 1, bounds, Quantiser.of(bounds))


def test_a_large_sum_just_within_its_bound_passes_and_just_beyond_is_refused() -> None:
    total = torch.zeros(BOUNDS.size, dtype=torch.int64)
    total[3] = math.isqrt(squared_limits(BOUNDS, QUANTISER)[0])
    check_sum(total, 1, BOUNDS, QUANTISER)
    total[3] += 1
    with pytest.raises(ReplyRejected, match="slice 0"):
        check_sum(total, 1, BOUNDS, QUANTISER)


def test_the_largest_integers_are_refused_and_not_wrapped_around() -> None:
    for dtype in (torch.int32, torch.int64):
        with pytest.raises(ReplyRejected, match="slice 0"):
            check_sum(torch.full((BOUNDS.size,), torch.iinfo(dtype).min, dtype=dtype), 9, BOUNDS, QUANTISER)


@pytest.mark.parametrize("mine", [torch.int32, torch.int64])
@pytest.mark.parametrize("theirs", [torch.int32, torch.int64])
def test_add_checked_guarantee(mine: torch.dtype, theirs: torch.dtype) -> None:
    """What passes is added, whichever type is the longer; what does not leaves the sum as it was."""
    update = torch.randn(BOUNDS.size, generator=torch.Generator().manual_seed(1))
    total = clip_to_steps(update, BOUNDS, QUANTISER).integers.to(theirs)
    accumulator = torch.arange(BOUNDS.size, dtype=mine)
    add_checked_(accumulator, total, 1, BOUNDS, QUANTISER)
    assert torch.equal(accumulator.long(), torch.arange(BOUNDS.size) + total.long())
    with pytest.raises(ReplyRejected):
        add_checked_(accumulator, total * 2, 1, BOUNDS, QUANTISER)
    assert torch.equal(accumulator.long(), torch.arange(BOUNDS.size) + total.long())


@pytest.mark.parametrize("mine", [torch.int32, torch.int64])
@pytest.mark.parametrize("slice_at_fault", [0, 1])
def test_a_refused_sum_is_taken_back_even_if_it_wrapped_around(
    mine: torch.dtype, slice_at_fault: int
) -> None:
    """Whatever was added before the fault was found is out again, be the integers as large as they can be."""
    generator = torch.Generator().manual_seed(2)
    total = torch.zeros(BOUNDS.size, dtype=torch.int64)
    total[:1000] = torch.randint(-50, 50, (1000,), generator=generator)
    begin = BOUNDS.offsets[slice_at_fault]
    total[begin : begin + 3] = torch.tensor([2**63 - 1, -(2**63), 2**40 + 1])
    before = torch.randint(-(2**31), 2**31, (BOUNDS.size,), generator=generator).to(mine)
    accumulator = before.clone()
    with pytest.raises(ReplyRejected, match=f"slice {slice_at_fault}"):
        add_checked_(accumulator, total, 1, BOUNDS, QUANTISER)
    assert torch.equal(accumulator, before)
