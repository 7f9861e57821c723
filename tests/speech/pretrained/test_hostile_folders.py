"""Folders that would run code, draw at random, or open other files: what a public model must not do here."""

import io
import json
import shutil

import numpy as np
import pytest
import torch

from optim.trainable import freeze
from speech.errors import ModelError
from speech.model.checks import require_sound
from tests.pretrained_models import load, waveforms


@pytest.fixture
def changed(folder_of, tmp_path):
    """Returns a copy of a tiny model's folder with other settings in one of its files."""

    def change(name, file, **settings):
        folder = tmp_path / name
        shutil.copytree(folder_of(name), folder, dirs_exist_ok=True)
        place = folder / file
        before = json.loads(place.read_text()) if place.is_file() else {}
        place.write_text(json.dumps({**before, **settings}))
        return folder

    return change


def random_states():
    return torch.random.get_rng_state().tolist(), np.random.get_state()[1].tolist()  # noqa: NPY002


def test_a_front_end_that_asks_for_dither_draws_nothing(changed):
    """Else each utterance would shift the noise on all later ones, of other speakers too."""
    model = load(changed("whisper", "preprocessor_config.json", dither=1e-3))
    extract, wave, before = model.front_end.extractor(), waveforms()[0], random_states()
    assert torch.equal(extract(wave), extract(wave))
    assert random_states() == before


@pytest.mark.parametrize("name", ["moonshine", "parakeet"])
def test_a_tokeniser_with_dropout_of_pieces_splits_a_text_always_in_the_same_way(changed, folder_of, name):
    pieces = json.loads((folder_of(name) / "tokenizer.json").read_text())["model"]
    model = load(changed(name, "tokenizer.json", model={**pieces, "dropout": 0.5}))
    found = {tuple(model.tokeniser.encode("turn the light on")) for _ in range(20)}
    assert found == {tuple(load(folder_of(name)).tokeniser.encode("turn the light on"))}


CODE = {
    "its configuration": ("config.json", {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Any"}}),
    "its front end": (
        "preprocessor_config.json",
        {"feature_extractor_type": "Evil", "auto_map": {"AutoFeatureExtractor": "evil.Any"}},
    ),
    "its tokeniser": (
        "tokenizer_config.json",
        {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Any", "evil.Any"]}},
    ),
}


@pytest.mark.parametrize("part", CODE)
def test_code_in_a_folder_is_not_run_and_nobody_is_asked_about_it(changed, monkeypatch, capsys, part):
    file, settings = CODE[part]
    folder = changed("hubert", file, **settings)
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w').close()\nclass Any: pass\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 9))
    with pytest.raises(ModelError, match="transformers cannot use its"):
        model = load(folder)
        model.front_end.extractor(), model.tokeniser
    assert not (folder / "ran").exists()
    assert "Do you wish" not in capsys.readouterr().out


def test_no_kernels_from_elsewhere_compute_the_attention(changed, folder_of):
    model = load(changed("whisper", "config.json", attn_implementation="evil/kernel"))
    plain = load(folder_of("whisper"))
    assert model.base.config._attn_implementation == plain.base.config._attn_implementation


def test_a_folder_with_adapters_of_peft_beside_the_model_is_refused(changed):
    folder = changed("whisper", "adapter_config.json", base_model_name_or_path="/etc", peft_type="LORA")
    with pytest.raises(ModelError, match="it holds adapters of peft beside a model; merge them"):
        load(folder)


def test_quantised_weights_are_refused(changed):
    quantised = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    with pytest.raises(ModelError, match="its weights are quantised"):
        load(changed("whisper", "config.json", quantization_config=quantised))


def test_weights_that_are_no_numbers_are_found_before_anything_is_spent(folder_of):
    """Every update would count as zero, and every round would cost privacy."""
    model = load(folder_of("whisper"))
    with torch.no_grad():
        model.base.model.encoder.layers[0].fc1.weight[0] = float("nan")
    freeze(model, "*decoder.layers*")
    with pytest.raises(ModelError, match="the loss of noise is nan"):
        require_sound(model, trainable="*decoder.layers*", longest_seconds=3.0)
