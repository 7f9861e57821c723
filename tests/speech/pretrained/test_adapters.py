"""Adapters on every architecture: where they start, what they change, and what merging them gives."""

import pytest
import torch

from speech.data.batching import collate
from speech.errors import ModelError
from speech.model.adapters import is_adapter, merge_
from tests.pretrained_models import ADAPTED, ARCHITECTURES, examples_of, load

EVERY = pytest.mark.parametrize("name", ARCHITECTURES)


def evaluation(model):
    with torch.no_grad():
        return model.evaluate(collate(examples_of(model)))


def spread(model):
    """Move every B away from zero."""
    torch.manual_seed(3)
    with torch.no_grad():
        for key, value in model.named_parameters():
            if key.endswith(".lora_B"):
                value.normal_(0, 0.1)


@EVERY
def test_an_adapted_model_starts_as_the_unadapted_one(folder_of, name):
    plain = evaluation(load(folder_of(name)))
    adapted = load(folder_of(name), ADAPTED[name])
    found = evaluation(adapted)
    assert torch.equal(found.losses, plain.losses) and list(found.texts) == list(plain.texts)
    spread(adapted)
    assert not torch.allclose(evaluation(adapted).losses, plain.losses, rtol=1e-3)


@EVERY
def test_a_merged_model_gives_what_the_adapted_one_gives_with_the_names_of_the_base(folder_of, name):
    model = load(folder_of(name), ADAPTED[name])
    spread(model)
    before = evaluation(model)
    merge_(model)
    after = evaluation(model)
    torch.testing.assert_close(after.losses, before.losses, rtol=1e-5, atol=1e-5)
    assert list(after.texts) == list(before.texts)
    base = load(folder_of(name))
    assert [key for key, _ in model.named_parameters()] == [key for key, _ in base.named_parameters()]


def test_a_weight_that_two_layers_share_is_not_merged(folder_of):
    model = load(folder_of("wav2vec2"), "*.layers.0.attention.v_proj")
    layers = model.base.wav2vec2.encoder.layers
    layers[1].attention.v_proj.weight = layers[0].attention.v_proj.weight
    before = layers[0].attention.v_proj.weight.clone()
    with pytest.raises(ModelError, match=r"v_proj' cannot be merged: .*v_proj\.weight' is the same weight"):
        merge_(model)
    assert torch.equal(layers[0].attention.v_proj.weight, before)


def test_the_fixed_factor_of_a_layer_does_not_depend_on_other_layers(folder_of):
    few = dict(load(folder_of("whisper"), "*decoder*.v_proj").named_parameters())
    many = dict(load(folder_of("whisper"), "*.fc1,*.q_proj,*.v_proj").named_parameters())
    shared = [key for key in few if key.endswith(".lora_A")]
    assert len(shared) == 4
    for key in shared:
        assert torch.equal(few[key], many[key])
    assert len({few[key].sum().item() for key in shared}) == 4


def test_another_seed_fixes_another_factor(folder_of):
    from dataclasses import replace

    from speech.text import ENGLISH

    model = load(folder_of("whisper"), "*.fc1")
    choice = replace(model.choice, adapters=replace(model.choice.adapters, seed=1))
    one, other = dict(model.named_parameters()), dict(choice.make(ENGLISH).named_parameters())
    (key, *_) = [key for key in one if key.endswith(".lora_A")]
    assert not torch.equal(one[key], other[key])


def test_a_pattern_that_names_no_layer_is_refused_with_those_that_there_are(folder_of):
    with pytest.raises(ModelError, match=r"'\*\.nothing' names no linear layer.*layers\.0\.fc1"):
        load(folder_of("whisper"), "*.fc1,*.nothing")


def test_wavlms_attention_takes_no_notice_of_adapters_on_its_projections(folder_of):
    """It reads their weights and not their outputs: the check before the first round must find this."""
    model = load(folder_of("wavlm"), "*.q_proj,*.out_proj,*.output_dense")
    model.objective(collate(examples_of(model))).backward()
    without = {key for key, value in model.named_parameters() if is_adapter(key) and value.grad is None}
    assert without == {
        f"base.wavlm.encoder.layers.{layer}.attention.{projection}.lora_{factor}"
        for layer in range(2)
        for projection in ("q_proj", "out_proj")
        for factor in "AB"
    }
