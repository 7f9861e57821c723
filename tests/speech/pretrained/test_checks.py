"""The checks before the first round: each fault is found, and named; what is sound passes."""

import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from optim.trainable import freeze
from speech.errors import ModelError
from speech.model.adapters import Adapters
from speech.model.checks import require_sound
from speech.model.choice import ModelChoice
from speech.text import ENGLISH, alphabet_of
from tests.pretrained_models import ADAPTED, ARCHITECTURES, load

TRAINED = {
    "wav2vec2": "*.feature_extractor.*,*.feature_projection.*,*.encoder.layers.*,*.lm_head.*",
    "wav2vec2-group-norm": "*.feature_extractor.*,*.encoder.layers.*",
    "hubert": "*.encoder.layers.*,*.lm_head.*",
    "wavlm": "*.encoder.layers.*,*.lm_head.*",
    "wav2vec2-bert": "all",
    "parakeet": "*.self_attn.*,*.feed_forward*,*.subsampling.*,*.ctc_head.*",
    "whisper": "all",
    "moonshine": "all",
}


def check(model, trained, longest_seconds=3.0):
    freeze(model, trained)
    require_sound(model, trainable=trained, longest_seconds=longest_seconds)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("window", ["padded", "short"])
def test_what_is_sound_passes_and_is_left_as_it_was(folder_of, name, window):
    model = load(folder_of(name), window=window)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    generators = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    check(model, TRAINED[name])
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert not model.training and all(value.grad is None for value in model.parameters())
    assert torch.equal(torch.random.get_rng_state(), generators[0])
    assert np.array_equal(np.random.get_state()[1], generators[1])  # noqa: NPY002


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("trained", ["*.lora_B", "*.lora_A,*.lora_B"])
def test_adapters_pass_although_the_first_factor_has_no_gradient_yet(folder_of, name, trained):
    check(load(folder_of(name), ADAPTED[name]), trained)


def test_a_model_that_starts_from_its_stem_passes(folder_of):
    model = load(folder_of("whisper"), ADAPTED["whisper"], window="short")
    freeze(model, "*.decoder.*.lora_B")
    assert model.start_from_stem()
    require_sound(model, trainable="*.decoder.*.lora_B", longest_seconds=3.0)


@pytest.mark.parametrize("beside", ["", ",*.output_dense"])
def test_adapters_that_an_attention_passes_by_are_named(folder_of, beside):
    model = load(folder_of("wavlm"), f"*.q_proj{beside}")
    with pytest.raises(ModelError, match=r"layers\.0\.attention\.q_proj\.lora_B.* get no gradient.*adapters"):
        check(model, "*.lora_B")


def test_a_trained_tensor_outside_the_loss_is_named(folder_of):
    model = load(folder_of("wav2vec2"))
    model.base.spare = nn.Linear(2, 2)
    with pytest.raises(ModelError, match=r"base\.spare\.weight, base\.spare\.bias get no gradient"):
        check(model, "*.encoder.layers.*,base.spare.*")


def test_a_trained_tensor_with_a_gradient_of_zero_is_named(folder_of):
    model = load(folder_of("wav2vec2"))
    nn.init.zeros_(model.base.lm_head.weight)
    with pytest.raises(ModelError, match="get no gradient"):
        check(model, "*.encoder.layers.*")


@pytest.mark.parametrize("trained", ["all", "*.conv.norm.bias"])
def test_a_trained_batch_norm_is_named(folder_of, trained):
    with pytest.raises(ModelError, match=r"base\.encoder\.layers\.0\.conv\.norm\.\w+.*batch norm"):
        check(load(folder_of("parakeet")), trained)


def test_a_batch_norm_in_training_mode_is_found_by_its_buffers(folder_of, monkeypatch):
    model = load(folder_of("parakeet"))
    monkeypatch.setattr(type(model), "train", nn.Module.train)
    mean = model.base.encoder.layers[0].conv.norm.running_mean.clone()
    with pytest.raises(ModelError, match=r"buffers base\.encoder\.layers\.0\.conv\.norm\.running_mean"):
        check(model, "*.self_attn.*")
    assert torch.equal(model.base.encoder.layers[0].conv.norm.running_mean, mean)


@pytest.mark.parametrize("name", ["wav2vec2", "hubert", "wavlm"])
def test_parts_of_a_normed_weight_are_named_unless_a_pattern_names_them(folder_of, name):
    model = load(folder_of(name))
    said = r"pos_conv_embed\.conv\.parametrizations\.weight\.original0.*original1.*Noise"
    with pytest.raises(ModelError, match=said):
        check(model, "*.encoder.*")
    check(model, "*.encoder.layers.*,*.parametrizations.weight.original*")


def test_draws_from_numpys_generator_are_found(folder_of):
    model = load(folder_of("wav2vec2-bert"))
    model.base.config.apply_spec_augment, model.base.config.mask_time_prob = True, 0.5
    model.base.wav2vec2_bert.masked_spec_embed = nn.Parameter(torch.zeros(32))
    with pytest.raises(ModelError, match="numpy"):
        check(model, "*.self_attn.*")


def test_a_loss_that_depends_on_padding_is_found_and_the_remedy_mends_it(folder_of, tmp_path):
    """A model that was trained without a mask, in a folder that promises one."""
    folder = tmp_path / "copy"
    shutil.copytree(folder_of("wav2vec2-bert"), folder)
    model = load(folder)
    model._mask = lambda lengths: torch.ones(len(lengths), int(lengths.max()), dtype=torch.long)
    with pytest.raises(ModelError, match=r"padding changes what it computes.*return_attention_mask to false"):
        check(model, "*.self_attn.*")
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    settings["return_attention_mask"] = False
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    mended = load(folder)
    mended._mask = model._mask
    check(mended, "*.self_attn.*")


def test_utterances_longer_than_the_window_are_refused_with_both_lengths(folder_of):
    model = load(folder_of("whisper"))
    check(model, "*decoder.layers.*", longest_seconds=4.0)
    with pytest.raises(ModelError, match=r"corpus\.max-seconds = 4\.5: the model takes 4 seconds"):
        check(model, "*decoder.layers.*", longest_seconds=4.5)
    check(load(folder_of("hubert")), "*.lm_head.*", longest_seconds=1000.0)


def test_letters_that_the_tokeniser_does_not_know_are_named(folder_of):
    choice = ModelChoice(name=str(folder_of("wav2vec2")))
    with pytest.raises(ModelError, match=r"does not know 'ä', 'ö', 'ü', which.*model\.head to 'characters'"):
        check(choice.make(alphabet_of("de")), "*.lm_head.*")
    check(ModelChoice(name=choice.name, head="characters").make(alphabet_of("de")), "*.lm_head.*")


def test_a_tokeniser_of_another_head_is_refused(folder_of, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(folder_of("hubert"), folder)
    known = json.loads((folder / "vocab.json").read_text())
    (folder / "vocab.json").write_text(json.dumps({**known, "A": 500}))
    with pytest.raises(ModelError, match="'a' the index 500, and its head has 30 outputs"):
        check(load(folder), "*.lm_head.*")


@pytest.mark.parametrize("index", [None, 30])
def test_a_blank_that_the_head_does_not_have_is_refused(folder_of, tmp_path, index):
    folder = tmp_path / "copy"
    shutil.copytree(folder_of("hubert"), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "pad_token_id": index}))
    with pytest.raises(ModelError, match=f"pad_token_id = {index} in config.json"):
        check(load(folder), "*.lm_head.*")


def test_a_preset_with_adapters_passes_and_unused_ones_are_named():
    choice = ModelChoice(name="tiny", adapters=Adapters(layers="*", rank=2))
    model = choice.make(ENGLISH)
    check(model, "*.lora_B")
    model.spare = nn.Linear(2, 2)
    model.spare.lora_B = nn.Parameter(torch.zeros(2, 2))
    with pytest.raises(ModelError, match=r"spare\.lora_B get no gradient"):
        check(model, "*.lora_B")
