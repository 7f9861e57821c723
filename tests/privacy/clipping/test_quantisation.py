"""A quantiser fits its bounds, its errors name what it needs, and its limits never add up to more than C."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from privacy.clipping.bounds import ClipBounds
from privacy.clipping.quantisation import Quantiser, accumulator_dtype, squared_limits
from privacy.layout import LayerLayout
from tests.privacy.sum_checks import clip_to_steps


@given(
    st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=30), st.sampled_from([1, 8, 20, 24]), st.booleans()
)
def test_squared_limits_guarantee(heights: list[float], bits: int, together: bool) -> None:
    bounds = ClipBounds(
        offsets=tuple(range(len(heights) + 1)),
        bounds=tuple(heights),
        action="normalise" if together else "clip",
    )
    quantiser = Quantiser(step=bounds.total / 2**bits, bits=bits)
    assert sum(squared_limits(bounds, quantiser)) <= 4**bits


def test_accumulator_dtype_holds_the_largest_sum() -> None:
    quantiser = Quantiser(step=1.0, bits=20)
    assert accumulator_dtype(2047, quantiser) == torch.int32
    assert accumulator_dtype(2048, quantiser) == torch.int64
    with pytest.raises(ValueError, match="max_count"):
        accumulator_dtype(0, quantiser)


def test_a_quantiser_refuses_bounds_below_its_rounding_margin_and_names_a_remedy() -> None:
    bounds = ClipBounds(offsets=(0, 10_000, 10_001), bounds=(0.001, 1.0))
    with pytest.raises(ValueError, match="at least 16 bits"):
        Quantiser.of(bounds, bits=10)
    Quantiser.of(bounds, bits=16)
    with pytest.raises(ValueError, match="slice 0"):
        Quantiser.of(bounds, bits=15)


def test_a_quantiser_refuses_other_bounds_and_impossible_sizes() -> None:
    layout = LayerLayout.of({"a": (5,)})
    other = Quantiser.of(ClipBounds.of("global", 2.0, layout))
    with pytest.raises(ValueError, match=r"Quantiser\.of"):
        clip_to_steps(torch.zeros(5), ClipBounds.of("global", 1.0, layout), other)
    for bits in (0, 25):
        with pytest.raises(ValueError, match="bits"):
            Quantiser(step=1.0, bits=bits)
    with pytest.raises(ValueError, match="clip bound"):
        Quantiser.of(ClipBounds.of("global", 1e-40, layout))


def test_noise_std_is_in_units_of_the_clip_bound() -> None:
    bounds = ClipBounds.of("dim", 0.01, LayerLayout.of({"a": (5,), "b": (6,)}))
    quantiser = Quantiser.of(bounds)
    assert quantiser.noise_std_steps(1.5) * quantiser.step == pytest.approx(1.5 * 0.01)
