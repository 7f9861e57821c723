"""Noised quantiles: the split of z is the published one, bounds find their quantile, sensitivity holds."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import (
    ClipBounds,
    LayerLayout,
    QuantileClip,
    Quantiser,
    SecureGaussian,
    add_clipped_,
    add_indicators_,
    unclipped_slices,
)
from tests.privacy.sum_checks import check_sum

LAYOUT = LayerLayout.of([("a", (5,)), ("b", (2, 3)), ("c", ())])
BOUNDS = ClipBounds.of("uniform", 0.7, LAYOUT, statistics=2, adaptive=True)
QUANTISER = Quantiser.of(BOUNDS)
H = BOUNDS.model_slices


def contribution(update: torch.Tensor, bounds: ClipBounds = BOUNDS) -> torch.Tensor:
    """One person's integers: clipped model, no statistics, indicators."""
    quantiser = Quantiser.of(bounds)
    total = torch.zeros(bounds.size, dtype=torch.int64)
    padded = torch.cat([update, torch.zeros(bounds.size - len(update))])
    add_clipped_(total, padded, bounds, quantiser)
    add_indicators_(total, unclipped_slices(update, bounds), bounds, quantiser)
    return total


@given(st.lists(st.floats(width=32), min_size=LAYOUT.size, max_size=LAYOUT.size))
def test_add_indicators_guarantee(values: list[float]) -> None:
    """Model and bits together stay within C, whatever the update."""
    total = contribution(torch.tensor(values))
    check_sum(total, 1, BOUNDS, QUANTISER)
    assert int((total**2).sum()) <= 4**QUANTISER.bits


def test_bits_are_centred_and_say_unclipped() -> None:
    within = contribution(torch.zeros(LAYOUT.size))[BOUNDS.indicators_part]
    beyond = contribution(torch.full((LAYOUT.size,), 9.0))[BOUNDS.indicators_part]
    assert (within > 0).all()
    assert torch.equal(beyond, -within)
    assert not contribution(torch.full((LAYOUT.size,), math.nan)).any()


@pytest.mark.parametrize(("slices", "share", "z"), [(1, 0.1, 0.5), (7, 0.3, 1.0), (438, 0.204, 2.0)])
def test_the_split_of_z_is_the_published_one(slices: int, share: float, z: float) -> None:
    """z_update = (1/z^2 - H / (4 sigma_b^2))^(-1/2), Andrew et al. 2021, Theorem 1, with H bits."""
    layout = LayerLayout.of((f"layer{index}", (10,)) for index in range(slices))
    bounds = ClipBounds.of("uniform", 1.0, layout, adaptive=True, indicators_share=share)
    quantiser = Quantiser.of(bounds)
    bit_steps = 2 * float(contribution(torch.zeros(layout.size), bounds)[bounds.indicators_part][0])
    sigma_bits = quantiser.noise_std_steps(z) / bit_steps  # noise on the sum of bits, in bits
    model_bound = math.hypot(*bounds.bounds[:slices])
    z_update = z * bounds.total / model_bound
    assert z_update == pytest.approx((z**-2 - slices / (4 * sigma_bits**2)) ** -0.5, rel=1e-5)


@pytest.mark.parametrize("start", [0.3, 15.0])
@pytest.mark.parametrize("quantile", [0.3, 0.5])
def test_bounds_go_to_the_quantile_from_either_side(start: float, quantile: float) -> None:
    """The defect D9a of others (wrong sign) diverges here."""
    generator = torch.Generator().manual_seed(0)
    layout = LayerLayout.of([("a", (4,)), ("b", (4,))])
    bounds = ClipBounds.of("uniform", start, layout, adaptive=True)
    clip, speakers, source = QuantileClip(quantile=quantile, rate=0.4), 60, SecureGaussian()
    norms = torch.tensor([1.0, 3.0])
    for _ in range(60):
        quantiser, total = Quantiser.of(bounds), torch.zeros(bounds.size, dtype=torch.int64)
        for _ in range(speakers):
            directions = torch.nn.functional.normalize(torch.randn(2, 4, generator=generator), dim=1)
            spread = torch.exp(0.3 * torch.randn(2, generator=generator))
            update = (directions * (norms * spread)[:, None]).flatten()
            add_indicators_(total, unclipped_slices(update, bounds), bounds, quantiser)
        source.add_rounded_(total.numpy(), quantiser.noise_std_steps(0.1))
        bounds = clip.next_bounds(total[bounds.indicators_part], speakers, bounds, quantiser)
    wanted = norms * math.exp(0.3 * torch.distributions.Normal(0, 1).icdf(torch.tensor(quantile)))
    for bound, target in zip(bounds.bounds, wanted.tolist(), strict=False):
        assert bound == pytest.approx(target, rel=0.3)


def test_a_round_moves_a_bound_by_exactly_the_published_step() -> None:
    half = contribution(torch.zeros(LAYOUT.size))[BOUNDS.indicators_part]
    released = half * torch.tensor([10, -10, 0])  # of a cohort of 10: all unclipped, all clipped, half
    after = QuantileClip(quantile=0.5, rate=0.2).next_bounds(released, 10.0, BOUNDS, QUANTISER)
    moved = [new / old for new, old in zip(after.bounds, BOUNDS.bounds, strict=True)]
    assert moved[:H] == pytest.approx([math.exp(-0.1), math.exp(0.1), 1.0])
    shares = [bound / after.total for bound in after.bounds[H:]]
    assert shares == pytest.approx([0.1, 0.1])


@settings(max_examples=30)
@given(st.lists(st.floats(-1e12, 1e12), min_size=H, max_size=H), st.integers(1, 60))
def test_noise_alone_never_makes_bounds_that_the_quantiser_refuses(noise: list[float], rounds: int) -> None:
    bounds, clip = BOUNDS, QuantileClip(rate=3.0)
    for _ in range(rounds):
        bounds = clip.next_bounds(torch.tensor(noise), 5.0, bounds, Quantiser.of(bounds, bits=12))
    Quantiser.of(bounds, bits=12)


@pytest.mark.parametrize(("settings", "named"), [({"quantile": 1.0}, "quantile"), ({"rate": 0.0}, "rate")])
def test_impossible_settings_are_refused(settings: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        QuantileClip(**settings)


def test_bounds_need_one_indicator_per_slice_of_the_model() -> None:
    with pytest.raises(ValueError, match="indicators=2"):
        ClipBounds(offsets=(0, 3, 6, 9, 11), bounds=(1.0,) * 4, indicators=2)
    with pytest.raises(ValueError, match="slices of their own"):
        ClipBounds(offsets=(0, 3, 6), bounds=(1.0, 1.0), indicators=1)
