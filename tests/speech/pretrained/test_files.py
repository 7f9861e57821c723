"""Model files of pre-trained models: what was trained, once, and the way back to the model."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from optim.flat_model import bind
from optim.trainable import freeze
from recipes import ConfigError
from speech.data.batching import collate
from speech.errors import CheckpointMismatch, ModelError
from speech.model.checkpoint import load_model, load_weights, save_model
from tests.pretrained_models import ADAPTED, examples_of, load, tiny_model

CASES = {
    "adapters": ("whisper", ADAPTED["whisper"], "*.lora_B", {}),
    "adapters, short": ("whisper", ADAPTED["whisper"], "*.lora_B", {"window": "short"}),
    "a new head": ("wav2vec2", "", "base.lm_head.*", {"head": "characters"}),
    "a new head and adapters": (
        "parakeet",
        ADAPTED["parakeet"],
        "base.ctc_head.*,*.lora_B",
        {"head": "characters"},
    ),
    "all": ("moonshine", "", "all", {}),
    "all of whisper": ("whisper", "", "all", {}),
}


def evaluation(model):
    with torch.no_grad():
        return model.evaluate(collate(examples_of(model)))


def moved(model, trained):
    """Freeze all but `trained`, and move that."""
    freeze(model, trained)
    torch.manual_seed(5)
    with torch.no_grad():
        for value in model.parameters():
            if value.requires_grad:
                value.add_(0.05 * torch.randn_like(value))
    return model


@pytest.mark.parametrize("case", CASES)
def test_a_file_gives_the_model_back(folder_of, tmp_path, case):
    name, adapters, trained, changes = CASES[case]
    model = moved(load(folder_of(name), adapters, **changes), trained)
    save_model(tmp_path / "m.safetensors", model, model.choice.name)
    loaded = load_model(tmp_path / "m.safetensors")
    found, expected = evaluation(loaded.model), evaluation(model)
    assert torch.equal(found.losses, expected.losses) and list(found.texts) == list(expected.texts)
    assert loaded.preset == str(folder_of(name)) and loaded.model.choice == model.choice
    theirs = dict(loaded.model.named_parameters())
    assert all(torch.equal(value, theirs[key]) for key, value in model.named_parameters())


@pytest.mark.parametrize("case", CASES)
def test_a_file_holds_what_was_trained_and_the_fixed_factors(folder_of, tmp_path, case):
    name, adapters, trained, changes = CASES[case]
    model = moved(load(folder_of(name), adapters, **changes), trained)
    save_model(tmp_path / "m.safetensors", model, model.choice.name)
    with safe_open(tmp_path / "m.safetensors", framework="pt") as file:
        held = set(file.keys())
    wanted = {key for key, value in model.named_parameters() if value.requires_grad or "lora_" in key}
    assert held == wanted


def test_what_an_earlier_training_changed_stays_in_the_file(folder_of, tmp_path):
    """A head is trained first, then the adapters alone."""
    file, again = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    first = moved(load(folder_of("wav2vec2"), ADAPTED["wav2vec2"], head="characters"), "*.lora_B,*lm_head*")
    save_model(file, first, first.choice.name)
    second = load(folder_of("wav2vec2"), ADAPTED["wav2vec2"], head="characters")
    load_weights(second, file, second.choice)
    save_model(again, moved(second, "*.lora_B"), second.choice.name)
    loaded = dict(load_model(again).model.named_parameters())
    assert all(torch.equal(value, loaded[name]) for name, value in second.named_parameters())
    head = "base.lm_head.weight"
    assert torch.equal(loaded[head], dict(first.named_parameters())[head])


def test_a_file_does_not_load_with_other_weights_below_it(folder_of, tmp_path):
    model = load(folder_of("whisper"), ADAPTED["whisper"])
    save_model(tmp_path / "m.safetensors", model, model.choice.name)
    other = tiny_model("whisper", tmp_path / "other", init_std=0.1)
    with pytest.raises(CheckpointMismatch, match="digest"):
        load_model(tmp_path / "m.safetensors", folder=other)


def test_tied_weights_are_in_the_vector_once_and_move_together(folder_of):
    model = load(folder_of("whisper"))
    freeze(model, "all")
    tied = model.base.proj_out.weight
    assert tied is model.base.model.decoder.embed_tokens.weight
    layout, vector = bind(model, constant_buffers=True)
    names = [name for name in layout.names if "embed_tokens" in name or "proj_out" in name]
    assert len(names) == 1
    assert vector.numel() == sum(value.numel() for value in {id(v): v for v in model.parameters()}.values())
    vector.zero_()
    assert not model.base.proj_out.weight.any() and not model.base.model.decoder.embed_tokens.weight.any()


def test_what_the_library_never_trains_cannot_be_trained(folder_of):
    model = load(folder_of("whisper"))
    freeze(model, "all")
    sinusoids = "base.model.encoder.embed_positions.weight"
    assert sinusoids not in dict(model.named_parameters()) and sinusoids in dict(model.named_buffers())
    assert sinusoids in model.state_dict()
    with pytest.raises(ConfigError, match="no parameter of the model matches"):
        freeze(model, "*.encoder.embed_positions.*")


HOSTILE = {
    "rank": (0, -1, 4.5, "4", True),
    "alpha": (float("nan"), 0.0, "16"),
    "layers": (5,),
    "train": ("Q",),
    "seed": ("0",),
    "window": ("long",),
    "head": ("evil",),
    "name": (5, ["a"]),
}


def changed_file(folder_of, path, field, value):
    """A model file with adapters, whose description has another value."""
    model = load(folder_of("whisper"), "*.decoder.*.fc1")
    save_model(path, model, model.choice.name)
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    described = json.loads(metadata["model"])
    place = described if field in described else described["adapters"]
    place[field] = value
    save_file(tensors, path, metadata={**metadata, "model": json.dumps(described)})
    return path


@pytest.mark.parametrize(
    ("field", "value"), [(key, one) for key, values in HOSTILE.items() for one in values]
)
def test_a_description_with_values_of_another_kind_is_refused_as_such(folder_of, tmp_path, field, value):
    path = changed_file(folder_of, tmp_path / "m.safetensors", field, value)
    with pytest.raises(CheckpointMismatch, match="its description of the model cannot be read"):
        load_model(path)


def test_a_rank_beyond_its_layers_takes_no_memory(folder_of, tmp_path):
    """A node makes the adapters that a server's recipe names, so this also bounds what that can cost it."""
    path = changed_file(folder_of, tmp_path / "m.safetensors", "rank", 10**12)
    with pytest.raises(ModelError, match=r"maps 32 values to 64, so no change of it has a rank above 32"):
        load_model(path)
