"""Folders that would run code, draw at random, or open other files: what a public model must not do here."""

import io
import json
import shutil

import numpy as np
import pytest
import torch

from optim.trainable import freeze, frozen_digest
from speech.errors import ModelError
from speech.model.adapters import Adapters
from speech.model.checks import require_sound
from speech.model.choice import ModelChoice
from speech.pretrained.folder import ModelFolder
from speech.pretrained.store import add_model
from speech.text import ENGLISH
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


OTHER_SETTINGS = {
    "heads": ("whisper", "config.json", {"encoder_attention_heads": 4}),
    "activation": ("whisper", "config.json", {"activation_function": "relu"}),
    "strides": ("wav2vec2", "config.json", {"conv_stride": [8, 8, 4]}),
    "front end": ("wav2vec2", "preprocessor_config.json", {"do_normalize": False}),
}


@pytest.mark.parametrize("case", OTHER_SETTINGS)
def test_equal_weights_with_other_settings_are_another_model_for_nodes_and_caches(changed, folder_of, case):
    name, file, settings = OTHER_SETTINGS[case]
    found = []
    for folder in (folder_of(name), changed(name, file, **settings)):
        model = load(folder)
        freeze(model, "*lm_head*" if name == "wav2vec2" else "*decoder.layers*")
        digest = frozen_digest(model)
        assert model.start_from_stem()
        found.append((digest, model.front_end.written(), model.front_end.extractor()(waveforms()[0])))
    (ours, kept, activations), (theirs, other, others) = found
    assert activations.shape != others.shape or not torch.equal(activations, others)
    assert ours != theirs
    assert kept != other


def test_the_scale_of_a_frozen_adapter_is_in_the_digest_of_the_stem(folder_of):
    def digest(alpha):
        adapters = Adapters(layers="*.encoder.layers.0.fc1", rank=2, alpha=alpha)
        model = ModelChoice(name=str(folder_of("whisper")), adapters=adapters).make(ENGLISH)
        freeze(model, "*decoder.layers*")
        return model.stem().digest()

    assert digest(4.0) == digest(4.0) != digest(8.0)


def test_the_settings_that_count_are_those_that_the_library_reads(changed, folder_of):
    before = json.loads((folder_of("whisper") / "preprocessor_config.json").read_text())
    folder = changed("whisper", "processor_config.json", feature_extractor={**before, "feature_size": 20})
    front_end = load(folder).front_end
    assert front_end.extractor()(waveforms()[0]).shape[1] == front_end.width == 20
    assert front_end.written() != load(folder_of("whisper")).front_end.written()


def test_a_sentencepiece_model_is_in_the_digest_and_in_the_store(changed, tmp_path, monkeypatch):
    monkeypatch.setenv("MURMUR_HOME", str(tmp_path / "home"))
    folder = changed("moonshine", "config.json")
    before = ModelFolder(folder).digest
    (folder / "tokenizer.model").write_bytes(b"pieces")
    assert ModelFolder(folder).digest != before
    assert add_model("a/b", folder).digest == ModelFolder(folder).digest
