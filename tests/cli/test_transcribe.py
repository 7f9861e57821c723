import json
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
from speech.decoding import train_ngram
from speech.model.checkpoint import save_model
from speech.pretraining import PretrainConfig, pretrain
from speech.text import ENGLISH
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
        assert result.exit_code == 2 and message in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_one_model_must_be_named(model: Path, tmp_path: Path) -> None:
    for arguments in ([], ["--run", tmp_path, "--model", model]):
        result = murmur("a.wav", *arguments)
        assert result.exit_code == 2 and "--run" in result.output


def test_each_format_goes_to_a_file_or_a_folder(model: Path, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("one.wav", "two.wav")]
    for file, text in zip(files, ("abc de", "bad cab"), strict=True):
        soundfile.write(file, toy.tone(text, np.random.default_rng(0)), 16_000)
    assert murmur(*files, "--model", model, "--format", "json", "--out", tmp_path / "all.json").exit_code == 0
    said = json.loads((tmp_path / "all.json").read_text())
    assert [file["text"] for file in said] == ["abc de", "bad cab"]
    assert said[0]["words"][1]["word"] == "de" and 0.4 < said[0]["words"][1]["start"] < 0.65
    assert murmur(*files, "--model", model, "--format", "srt", "--out", tmp_path).output == ""
    assert (tmp_path / "two.srt").read_text().splitlines()[2] == "bad cab"
    lines = murmur(*files, "--model", model, "--format", "ctm").stdout.splitlines()
    assert [(line.split()[0], line.split()[4]) for line in lines] == [
        ("one", "abc"),
        ("one", "de"),
        ("two", "bad"),
        ("two", "cab"),
    ]
    assert json.loads(murmur(files[0], "--model", model, "--format", "json").stdout)[0]["text"] == "abc de"


def test_where_no_file_can_be_read_none_is_written(model: Path, tmp_path: Path) -> None:
    for format in ("text", "json", "srt", "ctm"):
        result = murmur("absent.wav", "--model", model, "--format", format, "--out", tmp_path / "out")
        assert result.exit_code == 1 and "no such audio file" in result.stderr
        assert not (tmp_path / "out").exists()


def test_a_language_model_says_which_words_there_are(model: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", toy.tone("abc de", np.random.default_rng(0)), 16_000)
    with (tmp_path / "words.arpa").open("w") as file:
        train_ngram(["abce de"], file, order=2, unit="word", characters=ENGLISH.characters)
    result = murmur(tmp_path / "a.wav", "--model", model, "--lm", tmp_path / "words.arpa", "--word-bonus", 1)
    assert result.output == f"{tmp_path / 'a.wav'}: abce de\n"
    result = murmur(tmp_path / "a.wav", "--model", model, "--beam", 8)
    assert result.output == f"{tmp_path / 'a.wav'}: abc de\n"
    (tmp_path / "empty.arpa").write_text("")
    result = murmur(tmp_path / "a.wav", "--model", model, "--lm", tmp_path / "empty.arpa")
    assert result.exit_code == 2 and "an empty file" in result.stderr


def test_what_would_have_no_place_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "rec").write_bytes(b"sound")
    (tmp_path / "same").symlink_to("rec")
    for arguments, message in (
        (["a.wav", "b.wav", "--format", "srt"], "a file each"),
        (["x/a.wav", "y/a.wav", "--format", "ctm"], "2 files are called 'a'"),
        (["x/a.wav", "y/a.wav", "--out", tmp_path], "2 files are called 'a'"),
        (["a.wav", "--out", tmp_path / "absent" / "a.txt"], "there is no folder"),
        (["b.ogg", "c.ogg", "--out", "a.ogg"], "--out a.ogg has the name of a sound file"),
        ([tmp_path / "rec", "--out", tmp_path / "same"], "is one of the recordings"),
        (["a.wav", "--out", f"{tmp_path / 'rec'}/"], "this folder cannot be made"),
        (["a.wav", "--lm-weight", 1], "--lm-weight needs"),
        (["a.wav", "--word-bonus", 1], "--word-bonus needs"),
    ):
        result = murmur(*arguments, "--model", tmp_path / "model")
        assert result.exit_code == 2 and message in " ".join(result.stderr.replace("│", "").split())
    assert (tmp_path / "rec").read_bytes() == b"sound"


def test_a_name_that_ends_with_a_slash_is_a_folder(model: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", toy.tone("abc de"), 16_000)
    assert murmur(tmp_path / "a.wav", "--model", model, "--out", f"{tmp_path}/new/").exit_code == 0
    assert (tmp_path / "new" / "a.txt").read_text() == f"{tmp_path / 'a.wav'}: abc de\n"
