import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from base.registries import MODEL_PRESETS
from speech.errors import CheckpointMismatch
from speech.export import describe
from speech.model import checkpoint
from speech.model.checkpoint import load_model, save_model
from speech.model.ctc_transformer import build_model
from speech.text import ENGLISH, alphabet_of
from speech.transcription.transcriber import Transcriber
from tests.paper_models import date_back, small_paper

UKRAINIAN = "абвгґдеєжзиіїйклмнопрстуфхцчшщьюя'"
RATE_HZ = 16000


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_model(path, build_model("tiny", seed=3), "tiny", {"layout": "abc"})
    return path


def rewrite(path: Path, tensors: dict | None = None, **metadata: str) -> None:
    """The same file with some tensors or metadata replaced."""
    own = dict(load_model(path).metadata)
    save_file(load_file(path) if tensors is None else tensors, path, metadata=own | metadata)


def test_a_model_comes_back_as_it_was(saved: Path) -> None:
    loaded = load_model(saved, preset="tiny")
    assert loaded.preset == "tiny" and loaded.metadata["layout"] == "abc"
    assert not loaded.model.training
    expected = build_model("tiny", seed=3)
    for (name, a), (other, b) in zip(
        loaded.model.named_parameters(), expected.named_parameters(), strict=True
    ):
        assert name == other and torch.equal(a, b) and a.requires_grad


def test_a_model_whose_parameters_are_views_of_one_vector_is_saved_too(tmp_path: Path, saved: Path) -> None:
    model = build_model("tiny", seed=3)
    vector = torch.cat([p.detach().flatten() for p in model.parameters()])
    offset = 0
    for parameter in model.parameters():
        parameter.data = vector[offset : offset + parameter.numel()].view(parameter.shape)
        offset += parameter.numel()
    save_model(tmp_path / "views.safetensors", model, "tiny")
    one, two = load_file(saved), load_file(tmp_path / "views.safetensors")
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_a_failed_write_leaves_what_was_there_and_no_litter(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()

    def fail(tensors: dict, path: Path, metadata: dict) -> None:
        Path(path).write_bytes(b"half a mod")
        raise OSError("disk full")

    monkeypatch.setattr(checkpoint, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        save_model(saved, build_model("tiny"), "tiny")
    assert saved.read_bytes() == before
    assert list(saved.parent.glob(".*")) == []


def test_a_model_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: done.append("fsync") or sync(fd))
    monkeypatch.setattr(os, "replace", lambda a, b: done.append("replace") or replace(a, b))
    save_model(tmp_path / "model.safetensors", build_model("tiny"), "tiny")
    assert done == ["fsync", "replace", "fsync"]


def test_others_may_read_it_as_the_umask_allows(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    assert saved.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_another_preset_is_named(saved: Path) -> None:
    with pytest.raises(CheckpointMismatch, match="a model of preset 'tiny', small is needed"):
        load_model(saved, preset="small")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"format": "other"}, "none that murmur saved.*'other'"),
        ({"version": "99"}, "format version '99', this code reads '1'"),
        ({"preset": "huge"}, "preset 'huge', conformer or paper or .* is needed"),
        ({"characters": "abc"}, "hold 0 spaces"),
        ({"language": "a\nb"}, "must be a code"),
        ({"features": "{}"}, "its features are {}"),
        ({"preset": "small"}, "its features|not a model of preset 'small'"),
    ],
)
def test_metadata_that_do_not_fit_are_named(saved: Path, metadata: dict[str, str], message: str) -> None:
    rewrite(saved, **metadata)
    with pytest.raises(CheckpointMismatch, match=message) as caught:
        load_model(saved)
    assert str(saved) in str(caught.value)


def test_the_language_comes_back_and_another_is_refused_by_its_characters(tmp_path: Path) -> None:
    path = tmp_path / "french.safetensors"
    save_model(path, build_model("tiny", "fr"), "tiny")
    model = load_model(path, language="fr").model
    assert (model.config.language, model.output.out_features) == ("fr", 46)
    lacking = (
        "language 'fr', and the corpus is in 'de': the model lacks 'ä', 'ö', 'ß' and has in addition 'à'"
    )
    with pytest.raises(CheckpointMismatch, match=lacking):
        load_model(path, language="de")


def test_a_language_that_nobody_registered_comes_back_with_its_own_characters(tmp_path: Path) -> None:
    path, alphabet = tmp_path / "uk.safetensors", alphabet_of("uk", UKRAINIAN)
    save_model(path, build_model("tiny", alphabet), "tiny")
    assert load_model(path).alphabet == load_model(path, language=alphabet).alphabet == alphabet
    with pytest.raises(CheckpointMismatch, match="in another order"):
        load_model(path, language=alphabet_of("uk", UKRAINIAN[::-1]))
    with pytest.raises(CheckpointMismatch, match=r"lacks 'a', 'b'.* has in addition 'а', 'б'"):
        load_model(path, language="en")


def test_a_model_may_start_another_language_with_the_same_characters(saved: Path) -> None:
    dutch = alphabet_of("nl", ENGLISH.characters)
    assert load_model(saved, language=dutch).alphabet == dutch


def test_a_file_from_before_there_were_languages_is_english(saved: Path) -> None:
    own = {key: value for key, value in load_model(saved).metadata.items() if key != "language"}
    save_file(load_file(saved), saved, metadata=own)
    assert load_model(saved, language="en").model.config.language == "en"
    with pytest.raises(CheckpointMismatch, match="of language 'en', and the corpus is in 'fr'"):
        load_model(saved, language="fr")


def test_a_paper_model_from_before_the_releases_features_loads_with_its_own(tmp_path: Path) -> None:
    """Same tensors; features centred on the samples, as the preset computed them then."""
    path = tmp_path / "paper.safetensors"
    with small_paper():
        model = build_model("paper")
        save_model(path, model, "paper")
        assert load_model(path).features == MODEL_PRESETS["paper"].features
        date_back(path)
        loaded = load_model(path)
        # A preset that never had these features refuses them.
        rewrite(path, tensors=build_model("tiny").state_dict(), preset="tiny")
    with pytest.raises(CheckpointMismatch, match="its features are"):
        load_model(path)
    assert loaded.features == MODEL_PRESETS["conformer"].features != MODEL_PRESETS["paper"].features
    for (name, a), (other, b) in zip(
        loaded.model.state_dict().items(), model.state_dict().items(), strict=True
    ):
        assert name == other and torch.equal(a, b)
    wave = torch.randn(RATE_HZ, generator=torch.Generator().manual_seed(0))
    transcribed = Transcriber(loaded)._read._extract(wave)  # type: ignore[attr-defined]
    assert torch.equal(transcribed, loaded.features.extractor()(wave))
    assert not torch.equal(transcribed, MODEL_PRESETS["paper"].features.extractor()(wave))
    assert describe(loaded, licence="", privacy="")["samples_per_frame"] == "480"


def test_tensors_that_do_not_fit_are_named(saved: Path) -> None:
    tensors = load_file(saved)
    rewrite(saved, {k: v for k, v in tensors.items() if k != "norm.bias"} | {"extra": torch.zeros(1)})
    with pytest.raises(CheckpointMismatch, match=r"1 tensors missing, .*'norm.bias'; 1 tensors too many"):
        load_model(saved)


def test_other_shapes_are_named(tmp_path: Path, saved: Path) -> None:
    tensors = load_file(saved) | {"output.weight": torch.zeros(33, 96)}
    rewrite(saved, tensors)
    with pytest.raises(CheckpointMismatch, match=r"'output.weight' has shape \[33, 96\] and not \[30, 96\]"):
        load_model(saved)


@pytest.mark.parametrize("content", [b"", b"no safetensors at all", b"\xff" * 64])
def test_what_is_no_safetensors_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointMismatch, match=r"model.safetensors: not a readable safetensors file"):
        load_model(path)


def test_a_truncated_file_is_named(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:-1000])
    with pytest.raises(CheckpointMismatch, match="not a readable safetensors file"):
        load_model(saved)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMismatch, match=r"absent.safetensors: no such model file"):
        load_model(tmp_path / "absent.safetensors")


def test_saving_under_a_wrong_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(CheckpointMismatch, match="not a model of preset 'small'"):
        save_model(path, build_model("tiny"), "small")
    with pytest.raises(ValueError, match="unknown model preset 'huge'"):
        save_model(path, build_model("tiny"), "huge")
    with pytest.raises(ValueError, match="'preset' is one of our own keys"):
        save_model(path, build_model("tiny"), "tiny", {"preset": "small"})
    assert not path.exists()
