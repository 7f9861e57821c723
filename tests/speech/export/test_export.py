"""All three formats are made once for this module: torch.export and ONNX take seconds each."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import murmuration_data
from base.registries import MODEL_PRESETS
from speech.audio import read_audio
from speech.decoding import greedy
from speech.errors import ExportError
from speech.export import LICENCE_MISSING, describe, export_model, formats, onnx_file, writer
from speech.export.check import largest_difference
from speech.export.waveform_model import WaveformFeatures, WaveformModel
from speech.features.log_mel import LogMel
from speech.model.checkpoint import LoadedModel, load_model
from speech.model.ctc_transformer import CTCTransformer, build_model
from speech.text import ENGLISH

SEED = murmuration_data.path("seed/model.safetensors")
FILE = murmuration_data.path("corpus") / "audio" / "seed-test-000.ogg"
# Not those of the check that every export makes; the last is the shortest that is promised.
SECONDS = ((0.0, 2.0), (3.1, 1.2347), (7.0, 0.1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    loaded = load_model(SEED)
    metadata = describe(loaded, licence="cc0-1.0", privacy="none")
    for suffix in formats():
        export_model(loaded, folder / f"model{suffix}", metadata)
    return folder


def sounds() -> list[torch.Tensor]:
    return [read_audio(FILE, offset_seconds=start, duration_seconds=length) for start, length in SECONDS]


def test_another_process_without_our_code_gets_the_same_in_every_format(folder: Path) -> None:
    loaded, given = load_model(SEED), sounds()
    # Samples beyond a length have no effect, even loud ones or NaN.
    waveforms = torch.full((len(given), max(map(len, given))), 0.5)
    waveforms[1:] = torch.tensor([[torch.nan], [torch.inf]])
    for row, sound in zip(waveforms, given, strict=True):
        row[: len(sound)] = sound
    np.savez(folder / "given.npz", waveforms=waveforms.numpy(), lengths=[len(sound) for sound in given])
    script = Path(__file__).with_name("decode_elsewhere.py")
    command = [sys.executable, "-I", str(script), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    assert set(answers) == {f"model{suffix}" for suffix in formats()}
    log_mel = LogMel(MODEL_PRESETS["tiny"].features)
    for name, answer in answers.items():
        log_probs = np.load(folder / f"{name}.npy")
        for index, sound in enumerate(given):
            features = log_mel(sound).unsqueeze(0)
            with torch.inference_mode():
                expected, frames = loaded.model(features, torch.tensor([features.shape[1]]))
            count = int(frames[0])
            assert answer["frames"][index] == count
            np.testing.assert_allclose(log_probs[index, :count], expected[0, :count], atol=1e-3)
            assert " ".join(answer["texts"][index].split()) == greedy(expected, frames, ENGLISH)[0]
        assert answer["texts"][0].strip()
        assert answer["metadata"] == describe(loaded, licence="cc0-1.0", privacy="none")


@pytest.mark.parametrize("suffix", [".onnx", ".pt"])
def test_the_layers_of_the_paper_are_exported_too(suffix: str, tmp_path: Path) -> None:
    """Input norm, GLU and CAPE, in the paper's features and a fraction of its size."""
    shape = replace(MODEL_PRESETS["paper"].shape, width=32, feed_forward=64, layers=1)
    torch.manual_seed(0)
    model = CTCTransformer(shape, MODEL_PRESETS["paper"].features).eval()
    loaded = LoadedModel(model=model, preset="paper", metadata={})
    done = export_model(loaded, tmp_path / f"model{suffix}", {})
    assert done.path.is_file() and done.difference < 1e-4


def test_metadata_say_all_that_is_needed() -> None:
    told = describe(load_model(SEED), licence=LICENCE_MISSING, privacy="none")
    assert (told["blank"], told["characters"]) == ("29", "abcdefghijklmnopqrstuvwxyz '-")
    assert (told["sample_rate_hz"], told["samples_per_frame"], told["minimum_samples"]) == (
        "16000",
        "640",
        "1600",
    )
    assert "must choose one" in told["licence"] and told["privacy"] == "none"


@pytest.mark.parametrize("preset", ["tiny", "conformer", "paper"])
def test_features_of_a_padded_batch_are_those_of_each_utterance_alone(preset: str) -> None:
    features, log_mel, given = (
        WaveformFeatures(MODEL_PRESETS[preset].features),
        LogMel(MODEL_PRESETS[preset].features),
        sounds(),
    )
    lengths = torch.tensor([len(sound) for sound in given])
    waveforms = torch.nn.utils.rnn.pad_sequence(given, batch_first=True)
    batch, frames = features(waveforms, lengths)
    for row, count, sound in zip(batch, frames, given, strict=True):
        expected = log_mel(sound)
        assert len(expected) == count
        torch.testing.assert_close(row[:count], expected, atol=2e-3, rtol=0)
        assert not row[count:].any()


def test_an_export_that_computes_something_else_is_refused_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deaf(waveform_model: WaveformModel, path: Path, metadata: object) -> writer.Runner:
        path.write_bytes(b"x")
        return WaveformModel(build_model("tiny", seed=1), MODEL_PRESETS["tiny"].features)

    monkeypatch.setitem(writer._WRITERS, ".pt", deaf)
    kept = tmp_path / "kept.pt"
    kept.write_bytes(b"earlier")
    with pytest.raises(ExportError, match=r"differs from the model by .*0\.001 at most"):
        export_model(load_model(SEED), kept, {})
    assert [file.name for file in tmp_path.iterdir()] == ["kept.pt"] and kept.read_bytes() == b"earlier"


def test_another_number_of_frames_or_a_nan_is_a_difference() -> None:
    model, config = load_model(SEED).model, MODEL_PRESETS["tiny"].features
    waveform_model = WaveformModel(model, config)

    def frames_of_samples(*given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return waveform_model(*given)[0], given[1]

    def nothing(*given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return waveform_model(*given)[0] * torch.nan, waveform_model(*given)[1]

    with pytest.raises(ExportError, match="frames, the model"):
        largest_difference(frames_of_samples, model, config)
    with pytest.raises(ExportError, match="differs from the model by inf"):
        largest_difference(nothing, model, config)


def test_a_format_is_named_by_its_suffix(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"model\.tflite: no known format; end the name with \.pt2 or"):
        export_model(load_model(SEED), tmp_path / "model.tflite", {})


def test_a_model_too_large_for_one_onnx_file_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "LARGEST_ONNX_BYTES", 2**20)
    monkeypatch.setattr(writer, "_program", None)
    with pytest.raises(
        ExportError, match=r"the model takes [0-9]+ MiB, and an ONNX file has 1 at .*Export it to \.pt2"
    ):
        export_model(load_model(SEED), tmp_path / "model.onnx", {})
    assert not list(tmp_path.iterdir())


def test_a_missing_library_is_named_with_the_extra_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ExportError, match=r"ONNX needs onnxruntime.*murmuration\[export\]"):
        export_model(load_model(SEED), tmp_path / "model.onnx", {})
    assert not list(tmp_path.iterdir())
