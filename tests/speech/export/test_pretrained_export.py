"""What `transformers`, `peft` and ONNX Runtime make of exported pre-trained models, without our code."""

import json
import os
from pathlib import Path

import onnxruntime
import pytest
import torch
from safetensors import safe_open

from speech.audio import read_audio
from speech.errors import ExportError
from speech.export import describe, export_model, write_huggingface, write_peft
from speech.model.adapters import Adapters
from speech.model.checkpoint import LoadedModel, load_model, save_model
from speech.model.choice import ModelChoice
from speech.pretrained.store import add_model
from speech.pretrained.transformers_library import transformers
from speech.text import ENGLISH
from tests.pretrained_models import ADAPTED, CTC, load, random_adapters_, tiny_model, waveforms

README = "---\nlicense: other\n---\n\n# A card\n"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def adapted(
    name: str, folders: Path, layers: str | None = None, **changes: object
) -> tuple[Path, LoadedModel]:
    """A model file of an adapted model whose adapters and whose new head are no longer those of the start."""
    base = folders / name if (folders / name).is_dir() else tiny_model(name, folders / name)
    model = load(base, ADAPTED[name] if layers is None else layers, **changes)
    for parameter_name, value in model.named_parameters():
        value.requires_grad_(bool(changes.get("head")) and parameter_name.startswith("base.lm_head"))
    random_adapters_(model)
    file = folders / f"{name}{len(list(folders.iterdir()))}.safetensors"
    save_model(file, model, str(base))
    return file, load_model(file)


def told(loaded: LoadedModel) -> dict[str, str]:
    return describe(loaded, licence="cc-by-4.0", privacy="epsilon 2")


def our_texts(loaded: LoadedModel) -> list[str]:
    extract, found = loaded.model.front_end.extractor(), []
    for one in waveforms():
        features = extract(one)
        lengths = torch.tensor([len(features)])
        with torch.inference_mode():
            if hasattr(loaded.model, "blank"):
                found += loaded.model.decode(*loaded.model(features[None], lengths))
            else:
                found += loaded.model.decode(loaded.model.encode(features[None], lengths), [24])
    return found


def library_texts(folder: Path, model) -> list[str]:
    """The transcripts by `transformers` alone."""
    library, found = transformers(), []
    extract = library.AutoFeatureExtractor.from_pretrained(folder)
    tokeniser = library.AutoTokenizer.from_pretrained(folder)
    for one in waveforms():
        given = extract(one.numpy(), sampling_rate=16_000, return_tensors="pt")
        with torch.inference_mode():
            if model.config.is_encoder_decoder:
                ids = model.generate(**given, max_new_tokens=24)
            else:
                ids = model(**given).logits.argmax(-1)
        # Without its blanks, the library would join equal letters of a CTC model.
        text = tokeniser.decode(ids[0], skip_special_tokens=model.config.is_encoder_decoder)
        found.append(" ".join(text.replace("<unk>", "").lower().split()))
    return found


def assert_same(theirs: list[str], ours: list[str]) -> None:
    """A random Whisper never ends; the library then goes on where we stop."""
    assert all(ours) and len(set(ours)) > 1
    begun = [one[: len(other)] for one, other in zip(theirs, ours, strict=True)]
    assert begun == [one.lower() for one in ours]


def library_model(folder: Path, **more: object):
    library = transformers()
    config = library.AutoConfig.from_pretrained(folder)
    kinds = (library.AutoModelForCTC, library.AutoModelForSpeechSeq2Seq)
    kind = next(one for one in kinds if type(config) in one._model_mapping)
    return kind.from_pretrained(folder, **more).eval()


@pytest.mark.parametrize("name", ["wav2vec2", "wav2vec2-group-norm", "wav2vec2-bert", "parakeet", "whisper"])
def test_transformers_alone_gives_the_same_text(name: str, folders: Path, tmp_path: Path) -> None:
    _, loaded = adapted(name, folders)
    done = write_huggingface(loaded, tmp_path / "out", told(loaded), README)
    theirs = library_texts(done.path, library_model(done.path))
    assert_same(theirs, our_texts(loaded))
    assert theirs != library_texts(folders / name, library_model(folders / name))
    assert done.difference < 1e-4
    assert (done.path / "README.md").read_text() == README
    assert json.loads((done.path / "murmuration.json").read_text())["privacy"] == "epsilon 2"


def test_a_new_heads_characters_become_the_vocabulary(folders: Path, tmp_path: Path) -> None:
    _, loaded = adapted("wav2vec2", folders, head="characters")
    folder = write_huggingface(loaded, tmp_path / "out", told(loaded), README).path
    tokeniser, config = (
        transformers().AutoTokenizer.from_pretrained(folder),
        json.loads((folder / "config.json").read_text()),
    )
    assert len(tokeniser) == config["vocab_size"] == loaded.alphabet.num_outputs
    assert tokeniser.pad_token_id == config["pad_token_id"] == loaded.alphabet.blank
    assert tokeniser("don't stop").input_ids == loaded.alphabet.encode("don't stop")
    texts = library_texts(folder, library_model(folder))
    assert texts == our_texts(loaded) and len(set(texts)) > 1


def test_pieces_of_words_are_copied_and_replaced_by_a_new_head(folders: Path, tmp_path: Path) -> None:
    """A tokeniser of SentencePiece is a file `*.model`."""
    base = tiny_model("wav2vec2", folders / "pieces")
    (base / "spiece.model").write_bytes(b"pieces")
    for head in ("base", "characters"):
        file = folders / f"pieces-{head}.safetensors"
        model = load(base, ADAPTED["wav2vec2"], head=head)
        save_model(file, model, str(base))
        loaded = load_model(file)
        folder = write_huggingface(loaded, tmp_path / head, told(loaded), README).path
        assert (folder / "spiece.model").is_file() == (head == "base")
    assert (tmp_path / "base" / "spiece.model").read_bytes() == b"pieces"


def test_the_settings_of_training_do_not_reach_the_folder(folders: Path, tmp_path: Path) -> None:
    _, loaded = adapted("wav2vec2", folders)
    folder = write_huggingface(loaded, tmp_path / "out", told(loaded), README).path
    ours, theirs = (json.loads((one / "config.json").read_text()) for one in (folder, folders / "wav2vec2"))
    assert ours == theirs and ours["mask_time_prob"] > 0
    with (
        safe_open(folder / "model.safetensors", "pt") as file,
        safe_open(folders / "wav2vec2" / "model.safetensors", "pt") as base,
    ):
        assert set(file.keys()) == set(base.keys())
        masked = "wav2vec2.masked_spec_embed"
        assert file.get_tensor(masked).equal(base.get_tensor(masked))


def test_half_precision_is_smaller_and_still_the_model(folders: Path, tmp_path: Path) -> None:
    _, loaded = adapted("whisper", folders)
    whole, half = (
        write_huggingface(loaded, tmp_path / dtype, told(loaded), README, dtype=dtype)
        for dtype in ("float32", "float16")
    )
    sizes = [(one.path / "model.safetensors").stat().st_size for one in (whole, half)]
    assert sizes[1] < 0.6 * sizes[0] and 0 < half.difference < 0.05
    assert library_model(half.path).dtype == torch.float16


@pytest.mark.parametrize("name", ["wav2vec2", "wav2vec2-bert", "whisper"])
def test_peft_alone_gives_the_same_text(name: str, folders: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    file, loaded = adapted(name, folders)
    trained = load_names(file)
    write_peft(loaded, tmp_path / "out", told(loaded), README, trained=trained)
    base = library_model(folders / name)
    found = peft.PeftModel.from_pretrained(base, tmp_path / "out").eval()
    assert_same(library_texts(folders / name, found), our_texts(loaded))
    settings = peft.PeftConfig.from_pretrained(tmp_path / "out")
    assert (settings.r, settings.base_model_name_or_path) == (4, None)
    assert {one.name for one in (tmp_path / "out").iterdir()} == {
        *("adapter_config.json", "adapter_model.safetensors", "README.md", "murmuration.json")
    }


def test_an_export_names_the_base_model_and_no_folder(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two folders are published: what they name must be there for others."""
    base = (
        folders / "whisper" if (folders / "whisper").is_dir() else tiny_model("whisper", folders / "whisper")
    )
    monkeypatch.setenv("MURMUR_HOME", str(tmp_path / "home"))
    add_model("openai/tiny", base)
    for name in ("openai/tiny", str(base)):
        model = ModelChoice(name=name, adapters=Adapters(layers=ADAPTED["whisper"], rank=4)).make(ENGLISH)
        model.requires_grad_(False)
        file = tmp_path / "m.safetensors"
        save_model(file, model, name)
        loaded, place = load_model(file), tmp_path / Path(name).parent.name
        write_huggingface(loaded, place / "whole", told(loaded), README)
        write_peft(loaded, place / "adapter", told(loaded), README, trained=load_names(file))
        settings = json.loads((place / "adapter" / "adapter_config.json").read_text())
        assert settings["base_model_name_or_path"] == ("openai/tiny" if name == "openai/tiny" else None)
        texts = [one.read_text() for one in place.rglob("*.json")]
        assert len(texts) > 4 and not any(str(tmp_path) in one for one in texts)


def test_a_folder_is_named_from_the_working_directory(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, loaded = adapted("wav2vec2", folders)
    monkeypatch.chdir(tmp_path)
    write_huggingface(loaded, Path("out"), told(loaded), README)
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_peft_takes_a_new_head_with_the_adapters(folders: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    file, loaded = adapted("wav2vec2", folders, head="characters")
    write_peft(loaded, tmp_path / "out", told(loaded), README, trained=load_names(file))
    base = library_model(
        folders / "wav2vec2",
        vocab_size=loaded.alphabet.num_outputs,
        pad_token_id=loaded.alphabet.blank,
        ignore_mismatched_sizes=True,
    )
    found = peft.PeftModel.from_pretrained(base, tmp_path / "out").eval()
    assert library_texts(tmp_path / "out", found) == our_texts(loaded)


def test_what_peft_cannot_hold_is_named(folders: Path, tmp_path: Path) -> None:
    file, loaded = adapted("wav2vec2", folders)
    bias = next(name for name in dict(loaded.model.named_parameters()) if name.endswith("v_proj.bias"))
    with pytest.raises(ExportError, match=r"v_proj\.bias' was trained beside the adapters"):
        write_peft(loaded, tmp_path / "out", {}, README, trained=[*load_names(file), bias])
    untouched = load_model(adapted("wav2vec2", folders, layers="")[0])
    with pytest.raises(ExportError, match="has no adapters"):
        write_peft(untouched, tmp_path / "out", {}, README, trained=[])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", CTC)
def test_onnx_runtime_gives_the_log_probabilities(name: str, folders: Path, tmp_path: Path) -> None:
    _, loaded = adapted(name, folders)
    done = export_model(loaded, tmp_path / "m.onnx", told(loaded))
    session = onnxruntime.InferenceSession(str(done.path))
    (given,) = session.get_inputs()
    metadata, extract = session.get_modelmeta().custom_metadata_map, loaded.model.front_end.extractor()
    assert metadata["privacy"] == "epsilon 2" and metadata["blank"] == str(loaded.model.blank)
    for one in waveforms():
        features = extract(one)
        expected, _ = loaded.model(features[None], torch.tensor([len(features)]))
        sent = one if given.name == "waveform" else features
        found = torch.from_numpy(session.run(None, {given.name: sent[None].numpy()})[0])
        torch.testing.assert_close(found, expected.detach(), atol=1e-3, rtol=0)
    assert len(json.loads(metadata["vocabulary"])) == found.shape[-1]


def test_an_adapter_that_the_model_bypasses_is_no_part_of_an_export(folders: Path, tmp_path: Path) -> None:
    """WavLM hands the weight of `out_proj` to a fused function: an adapter there changes nothing."""
    _, loaded = adapted("wavlm", folders, layers="*.out_proj")
    with pytest.raises(ExportError, match="the exported model differs from the model"):
        write_huggingface(loaded, tmp_path / "out", {}, README)
    assert not list(tmp_path.iterdir())


def test_an_encoder_decoder_model_is_not_for_onnx(folders: Path, tmp_path: Path) -> None:
    _, loaded = adapted("whisper", folders)
    for name in ("m.onnx", "m.pt2"):
        with pytest.raises(ExportError, match="only CTC models are written as one file"):
            export_model(loaded, tmp_path / name, {})
    _, ctc = adapted("wav2vec2", folders)
    with pytest.raises(ExportError, match=r"written as \.onnx, or as a folder"):
        export_model(ctc, tmp_path / "m.pt2", {})
    assert not list(tmp_path.iterdir())


def test_the_adapters_of_a_preset_of_ours_are_merged(tmp_path: Path) -> None:
    choice = ModelChoice(name="tiny", adapters=Adapters(layers="blocks.*.w1", rank=2))
    model = choice.make(ENGLISH)
    random_adapters_(model)
    save_model(tmp_path / "m.safetensors", model, "tiny")
    loaded = load_model(tmp_path / "m.safetensors")
    export_model(loaded, tmp_path / "m.pt", told(loaded))
    names = [name for name, _ in torch.jit.load(str(tmp_path / "m.pt")).named_parameters()]
    assert names and not any("lora" in name for name in names)
    assert any("lora" in name for name, _ in loaded.model.named_parameters())
    with pytest.raises(ExportError, match=r"tiny: a preset of ours"):
        write_huggingface(loaded, tmp_path / "out", {}, README)


def test_a_place_that_holds_something_is_left_alone(folders: Path, tmp_path: Path) -> None:
    _, loaded = adapted("wav2vec2", folders)
    (tmp_path / "kept").write_text("x")
    with pytest.raises(ExportError, match="something is there already"):
        write_huggingface(loaded, tmp_path, {}, README)
    assert [one.name for one in tmp_path.iterdir()] == ["kept"]


def test_an_adapter_of_a_shared_weight_is_not_merged(folders: Path, tmp_path: Path) -> None:
    _, loaded = adapted("whisper", folders, layers="*proj_out")
    with pytest.raises(ValueError, match=r"'proj_out' cannot be merged.*embed_tokens"):
        write_huggingface(loaded, tmp_path / "out", {}, README)
    assert not list(tmp_path.iterdir())


def load_names(file: Path) -> list[str]:
    with safe_open(file, "pt") as opened:
        return list(opened.keys())


def test_the_real_whisper_transcribes_the_same_after_its_export(tmp_path: Path) -> None:
    speech = Path(os.environ.get("MURMUR_SPEECH") or "/absent")
    base = speech.parent / "models" / "whisper-tiny.en"
    if not base.is_dir():
        pytest.skip("there is no models/whisper-tiny.en beside the folder that MURMUR_SPEECH names")
    model = load(base, "*decoder*.fc1,*encoder*.v_proj").requires_grad_(False)
    random_adapters_(model, spread=0.02)
    save_model(tmp_path / "m.safetensors", model, str(base))
    loaded = load_model(tmp_path / "m.safetensors")
    folder = write_huggingface(loaded, tmp_path / "out", told(loaded), README).path
    waveform = read_audio(min((speech / "LibriSpeech").rglob("*.flac")))
    features = loaded.model.front_end.extractor()(waveform)
    lengths = torch.tensor([len(features)])
    with torch.inference_mode():
        (ours,) = loaded.model.decode(loaded.model.encode(features[None], lengths), [40])
    library = transformers()
    given = library.AutoFeatureExtractor.from_pretrained(folder)(
        waveform.numpy(), sampling_rate=16_000, return_tensors="pt"
    )
    ids = library_model(folder).generate(given["input_features"], max_new_tokens=40)
    theirs = library.AutoTokenizer.from_pretrained(folder).decode(ids[0], skip_special_tokens=True)
    assert theirs.split() == ours.split() and ours
