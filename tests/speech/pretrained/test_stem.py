"""The frozen stem: what it holds, and what its digest names. Its use in training: tests/client/training."""

import pytest
import torch

from optim.trainable import freeze
from speech.data.batching import collate
from tests.pretrained_models import examples_of, load, waveforms

CASES = {
    "whisper, decoder": ("whisper", "base.model.decoder.layers.*", {}),
    "whisper, second layer": ("whisper", "base.model.encoder.layers.1.*", {}),
    "whisper, norm": ("whisper", "base.model.encoder.layer_norm.*", {}),
    "whisper, short": ("whisper", "base.model.decoder.layers.*", {"window": "short"}),
    "whisper, short, second layer": ("whisper", "base.model.encoder.layers.1.*", {"window": "short"}),
    "wav2vec2": ("wav2vec2", "base.wav2vec2.encoder.*", {}),
    "wav2vec2, group norm": ("wav2vec2-group-norm", "base.lm_head.*", {}),
    "hubert": ("hubert", "base.lm_head.*", {}),
    "wavlm": ("wavlm", "base.wavlm.encoder.*", {}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_model_that_starts_from_its_stem_gives_the_same(folder_of, case):
    name, trained, changes = CASES[case]
    model = load(folder_of(name), **changes)
    freeze(model, trained)
    with torch.no_grad():
        batch = collate(examples_of(model))
        expected, objective = model.evaluate(batch), model.objective(batch)
        assert model.start_from_stem()
        batch = collate(examples_of(model))
        found = model.evaluate(batch)
        torch.testing.assert_close(found.losses, expected.losses, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(model.objective(batch), objective, rtol=1e-5, atol=1e-5)
    for text, other in zip(found.texts, expected.texts, strict=True):
        assert text.startswith(other)  # activations of a padded window do not say how long the speech is


@pytest.mark.parametrize(
    ("name", "trained"),
    [
        ("whisper", "base.model.encoder.conv1.bias"),
        ("wav2vec2", "base.wav2vec2.feature_extractor.*"),
        ("wav2vec2", "all"),
        ("parakeet", "base.ctc_head.*"),
        ("moonshine", "base.model.decoder.*"),
    ],
)
def test_there_is_no_stem_where_its_part_is_trained_or_none_is_known(folder_of, name, trained):
    model = load(folder_of(name))
    freeze(model, trained)
    front_end = model.front_end
    assert model.stem() is None and not model.start_from_stem()
    assert model.front_end is front_end


@pytest.mark.parametrize("part", ["weight", "bias"])
def test_a_norm_of_which_a_part_is_trained_lies_above_the_stem(folder_of, part):
    model = load(folder_of("whisper"))
    freeze(model, f"base.model.encoder.layer_norm.{part}")
    assert model.start_from_stem()
    model.objective(collate(examples_of(model))).backward()
    assert getattr(model._encoder.layer_norm, part).grad.any()


def test_the_digest_names_what_is_below_and_nothing_above(folder_of):
    def digest(changed=""):
        model = load(folder_of("whisper"))
        freeze(model, "base.model.encoder.layers.1.*")
        if changed:
            with torch.no_grad():
                model.state_dict()[changed].view(-1)[0] += 1e-3
        return model.stem().digest()

    assert digest() == digest() == digest("base.model.encoder.layers.1.fc1.weight")
    assert digest("base.model.decoder.layers.0.fc1.weight") == digest()
    for below in ("conv1.weight", "conv2.bias", "embed_positions.weight", "layers.0.fc2.bias"):
        assert digest(f"base.model.encoder.{below}") != digest(), below


def test_the_windows_and_the_layers_below_have_digests_of_their_own(folder_of):
    found = set()
    for window in ("padded", "short"):
        for trained in ("base.model.encoder.layers.0.*", "base.model.encoder.layers.1.*", "*decoder*"):
            model = load(folder_of("whisper"), window=window)
            freeze(model, trained)
            found.add(model.stem().digest())
    assert len(found) == 6


def test_activations_are_computed_without_dropout_and_leave_the_mode_alone(folder_of):
    model = load(folder_of("whisper"))
    model._encoder.dropout = 0.5
    freeze(model, "base.model.decoder.*")
    model.train()
    assert model.start_from_stem()
    extract, wave = model.front_end.extractor(), waveforms()[0]
    assert torch.equal(extract(wave), extract(wave))
    assert model._encoder.conv1.training and model._encoder.layers[0].training
