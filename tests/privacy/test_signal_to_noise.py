import pytest
import torch

from privacy import ClipBounds, LayerLayout
from privacy.layer_groups import LayerGroup, layer_groups
from privacy.noise.shape import relative_stds
from privacy.signal_to_noise import signal_to_noise

LAYOUT = LayerLayout.of({"a.w": (90, 100), "a.b": (1000,), "b.w": (10_000,), "c.w": (400,)})


@pytest.mark.parametrize("shape", ["isotropic", "variance-optimal"])
@pytest.mark.parametrize("rule", ["uniform", "global"])
def test_a_known_signal_is_found_in_noise_of_every_shape(rule, shape):
    """|r|^2 / E|n|^2 varies by at most sqrt(2 / d) + 2 snr / sqrt(d); six times that is allowed."""
    bounds = ClipBounds.of(rule, 1.0, LAYOUT, statistics=2)
    stds = [0.02 * one for one in relative_stds(shape, bounds)]
    of_tensors = stds[: len(LAYOUT)] if rule == "uniform" else stds[:1] * len(LAYOUT)
    generator, parts, wanted = torch.Generator().manual_seed(1), [], {"a": 1.5, "b": 0.0, "c": 9.0}
    for name, size, std in zip(LAYOUT.names, LAYOUT.sizes, of_tensors, strict=True):
        noise = std * torch.randn(size, generator=generator)
        parts.append(noise + wanted[name[0]] * std)  # a signal as long as the noise, times the ratio
    mean = torch.cat([*parts, torch.zeros(2)])[: LAYOUT.size]
    found = signal_to_noise(mean, stds, layer_groups(LAYOUT), LAYOUT, bounds)
    for ratio, expected in zip(found, wanted.values(), strict=True):
        assert ratio**2 == pytest.approx(expected**2, abs=0.3 if expected < 5 else 9)


def test_slices_that_divide_tensors_count_by_their_coordinates():
    bounds = ClipBounds(offsets=(0, 1, 4, 4), bounds=(0.5, 0.5, 0.1))
    layout = LayerLayout.of({"a": (2,), "b": (2,)})
    groups = [LayerGroup(name="a", tensors=(0,)), LayerGroup(name="b", tensors=(1,))]
    mean = torch.tensor([10.0, 0.0, 3.0, 3.0])
    found = signal_to_noise(mean, (1.0, 3.0, 7.0), groups, layout, bounds)
    assert found == [pytest.approx((100 / (1 + 9) - 1) ** 0.5), 0.0]
