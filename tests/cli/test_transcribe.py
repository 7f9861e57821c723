import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from click.testing import Result
from typer.testing import CliRunner

from cli import transcribe
from recipes import home
from speech.checkpoint import save_model
from speech.pretraining import PretrainConfig, pretrain
from tests.speech import toy

app = typer.Typer()
app.command()(transcribe.transcribe)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the toy language, trained well enough to be trusted."""
    folder = tmp_path_factory.mktemp("toy")
    corpus = toy.corpus(folder, speakers=10, utterances=12)
    trained = pretrain(corpus, PretrainConfig(epochs=12, batch_size=4))
    save_model(folder / "model.safetensors", trained.model, "tiny")
    return folder / "model.safetensors"


def murmur(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_any_rate_and_channel_count_is_read(model: Path, tmp_path: Path) -> None:
    sound = toy.tone("abc de", np.random.default_rng(0))
    soundfile.write(tmp_path / "mono.wav", sound, 16_000)
    soundfile.write(tmp_path / "stereo.flac", np.stack([sound, sound], axis=1), 16_000)
    fast = np.interp(np.arange(0, len(sound), 1 / 3), np.arange(len(sound)), sound)
    soundfile.write(tmp_path / "fast.ogg", fast, 48_000)
    files = [tmp_path / name for name in ("mono.wav", "stereo.flac", "fast.ogg")]
    result = murmur(*files, "--model", model)
    assert result.exit_code == 0
    assert result.output.splitlines() == [f"{file}: abc de" for file in files]


def test_a_bad_file_is_named_and_costs_no_other(model: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "good.wav", toy.tone("abc de"), 16_000)
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    files = [tmp_path / name for name in ("absent.wav", "bad.wav", "good.wav")]
    result = murmur(*files, "--model", model)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [f"{files[2]}: abc de"]
    errors = result.stderr.splitlines()
    assert len(errors) == 2
    assert f"error: {files[0]}: no such audio file" in errors[0]
    assert f"error: {files[1]}: cannot be read as audio" in errors[1]


@pytest.mark.parametrize("absolute", [True, False])
def test_a_run_folder_stands_for_its_final_model(
    model: Path, tmp_path: Path, absolute: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = home() / "runs"
    (runs / "first").mkdir(parents=True)
    shutil.copy(model, runs / "first" / "model.safetensors")
    (runs / "latest").symlink_to("first")
    soundfile.write(tmp_path / "a.wav", toy.tone("abc de"), 16_000)
    result = murmur(tmp_path / "a.wav", "--run", runs / "latest" if absolute else "runs/latest")
    assert result.exit_code == 0 and result.output == f"{tmp_path / 'a.wav'}: abc de\n"


def test_what_is_no_model_is_one_clear_line(model: Path, tmp_path: Path) -> None:
    (tmp_path / "unfinished").mkdir()
    for arguments, message in (
        (["--run", tmp_path / "absent"], "no such run folder"),
        (["--run", tmp_path / "unfinished"], "the run has not finished"),
        (["--model", tmp_path / "absent"], "no such model file"),
    ):
        result = murmur("a.wav", *arguments)
        assert result.exit_code == 1 and message in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_one_model_must_be_named(model: Path, tmp_path: Path) -> None:
    for arguments in ([], ["--run", tmp_path, "--model", model]):
        result = murmur("a.wav", *arguments)
        assert result.exit_code == 2 and "--run" in result.output
