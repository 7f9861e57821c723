from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from base.learning_settings import LearningSettings
from base.registries import MODEL_PRESETS
from speech.features.spec_augment import SpecAugment, make_augment


def runs(mask: torch.Tensor) -> list[int]:
    """Lengths of the runs of true values in a 1-D mask."""
    text = "".join("x" if value else " " for value in mask.tolist())
    return [len(run) for run in text.split()]


@given(
    freq_width=st.integers(0, 50),
    time_width=st.integers(0, 60),
    ratio=st.floats(0, 1),
    lengths=st.lists(st.integers(1, 80), min_size=1, max_size=5),
    seed=st.integers(0, 1_000),
)
def test_one_band_keeps_its_limits(
    freq_width: int, time_width: int, ratio: float, lengths: list[int], seed: int
) -> None:
    frames, mels = max(lengths), 40
    features = torch.ones(len(lengths), frames, mels)
    mask = SpecAugment(
        freq_masks=1, freq_width=freq_width, time_masks=1, time_width=time_width, time_ratio=ratio
    )
    hidden = mask(features, torch.tensor(lengths), torch.Generator().manual_seed(seed)) == 0
    for utterance, length in zip(hidden, lengths, strict=True):
        if utterance.all():
            continue
        channels = utterance[~utterance.all(1)][0]
        times = utterance[:, ~channels][:, 0]
        assert sum(runs(channels)) <= min(freq_width, mels) and len(runs(channels)) <= 1
        assert sum(runs(times)) <= min(time_width, ratio * length + 1e-3) and len(runs(times)) <= 1
        assert not times[length:].any()


def test_every_width_and_every_place_is_drawn() -> None:
    mask = SpecAugment(freq_masks=1, freq_width=3, time_masks=0)
    hidden = mask(
        torch.ones(2_000, 1, 5), torch.ones(2_000, dtype=torch.long), torch.Generator().manual_seed(0)
    )
    patterns = {tuple(row.tolist()) for row in hidden[:, 0] == 0}
    assert len(patterns) == 1 + 5 + 4 + 3  # widths 0, 1, 2, 3


def test_without_their_ends_the_draws_are_the_releases() -> None:
    """Widths 0, 1, 2 of 3, and never a band at the last of 5 channels; the same over time."""
    mask = SpecAugment(freq_masks=1, freq_width=3, time_masks=0, ends="excluded")
    ones, generator = torch.ones(2_000, 5, 5), torch.Generator().manual_seed(0)
    hidden = mask(ones, torch.full((2_000,), 5), generator)[:, 0] == 0
    assert len({tuple(row.tolist()) for row in hidden}) == 1 + 4 + 3
    assert not hidden[:, -1].any() and hidden.sum(1).max() == 2
    mask = SpecAugment(freq_masks=0, time_masks=1, time_width=3, time_ratio=1.0, ends="excluded")
    hidden = mask(ones, torch.full((2_000,), 4), generator)[:, :, 0] == 0
    assert len({tuple(row.tolist()) for row in hidden}) == 1 + 3 + 2
    assert not hidden[:, 3:].any()


@pytest.mark.parametrize("preset", ["conformer", *(name for name in MODEL_PRESETS if "paper" in name)])
def test_the_widest_band_of_each_preset(preset: str) -> None:
    """Of 30 values of a width, one is missed in 2,000 draws with a probability of 1e-28."""
    one = replace(MODEL_PRESETS[preset].augment, freq_masks=1, time_masks=0)
    hidden = one(torch.ones(2_000, 1, 80), torch.ones(2_000, dtype=torch.long), torch.Generator()) == 0
    assert hidden.sum(2).max() == (30 if preset == "conformer" else 29)
    assert hidden[:, 0, -1].any() == (preset == "conformer")


@pytest.mark.parametrize("ends", ["included", "excluded"])
def test_an_utterance_of_one_frame_has_no_band_of_time(ends: str) -> None:
    mask = SpecAugment(freq_masks=0, time_masks=5, ends=ends)
    assert mask(torch.ones(9, 1, 40), torch.ones(9, dtype=torch.long), torch.Generator()).all()


def test_utterances_of_a_batch_are_masked_differently_and_the_input_is_kept() -> None:
    features = torch.ones(8, 100, 40)
    masked = SpecAugment()(features, torch.full((8,), 100), torch.Generator().manual_seed(0))
    assert features.all()
    assert len({tuple(row.flatten().tolist()) for row in masked}) == 8


def test_one_seed_gives_one_mask() -> None:
    features, lengths = torch.randn(2, 50, 40), torch.tensor([50, 30])
    first, again, other = (
        SpecAugment()(features, lengths, torch.Generator().manual_seed(s)) for s in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_no_masks_hide_nothing() -> None:
    features = torch.randn(2, 9, 40)
    mask = SpecAugment(freq_masks=0, time_masks=0)
    assert torch.equal(mask(features, torch.tensor([9, 9]), torch.Generator()), features)


def test_masked_values_are_the_mean_of_the_utterance_where_features_are_not_normalised() -> None:
    """The same places as with 0; padding and the other utterance are not in the mean."""
    generator = torch.Generator().manual_seed(3)
    features, lengths = torch.randn(2, 60, 40, generator=generator) + 5, torch.tensor([60, 40])
    features[1, 40:] = 0
    zeros, means = (
        SpecAugment(value=value)(features, lengths, torch.Generator().manual_seed(0))
        for value in ("zero", "mean")
    )
    hidden = zeros != features
    assert hidden.any() and torch.equal(means[~hidden], features[~hidden])
    for row, length in enumerate(lengths.tolist()):
        masked = means[row, :length][hidden[row, :length]]
        torch.testing.assert_close(masked, features[row, :length].mean().expand_as(masked))


def test_the_masks_of_the_paper() -> None:
    paper = MODEL_PRESETS["paper"].augment
    assert (paper.freq_masks, paper.freq_width, paper.time_masks, paper.time_width) == (2, 30, 10, 50)
    assert paper.time_ratio == 0.1


def test_settings_change_the_masks_of_the_preset_or_turn_them_off() -> None:
    paper = MODEL_PRESETS["paper"].augment
    assert make_augment(paper, LearningSettings()) == paper
    changed = make_augment(paper, LearningSettings(time_masks=0, time_ratio=0.2))
    assert changed == replace(paper, time_masks=0, time_ratio=0.2)
    assert make_augment(paper, LearningSettings(spec_augment=False)) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("freq_width", -1), ("time_masks", -1), ("time_ratio", 1.5), ("ends", "'none'"), ("value", "'loud'")],
)
def test_impossible_masks_are_refused(name: str, value: float | str) -> None:
    with pytest.raises(ValueError, match=f"{name}={value} must"):
        SpecAugment(**{name: value.strip("'") if isinstance(value, str) else value})
