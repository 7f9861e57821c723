"""`murmur pretrain` from pre-trained models and from model files."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

import murmuration_data
from cli.pretrain import command
from cli.pretrain.recipe import SEED_RECIPE, read_recipe
from cli.pretrain.start import given_by
from privacy import Ancestor
from privacy.ledger.lineage import lineage_to_json
from recipes import ConfigError
from server.factory import starting_model
from server.storage.ancestry import LINEAGE, lineage_of_model
from speech.model.checkpoint import load_model, save_model
from speech.pretrained.folder import EXPORTED, ModelFolder
from speech.pretraining.start import trained_state
from speech.text import ENGLISH
from tests.pretrained_models import tiny_model
from tests.speech import toy

app = typer.Typer()
app.command()(command.pretrain)

WINDOW = "[corpus]\nmax-seconds = 4\n"
TRAINING = f"{WINDOW}[pretrain]\nepochs = 1\nbatch-size = 4\nspec-augment = false\n"
MODELS = {
    "whisper": 'adapters = "*decoder*.fc?"\nadapter-rank = 2\ntrainable = "adapters"\nwindow = "short"\n'
    "cache-frozen = true\n",
    "wav2vec2": 'head = "characters"\ntrainable = "base.lm_head.*"\ncache-frozen = true\n',
    "tiny": 'adapters = "blocks.*.w1"\ntrainable = "adapters,output.*"\nseed = "base"\n',
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrain")
    toy.write_corpus(folder)
    for name in ("whisper", "wav2vec2"):
        tiny_model(name, folder / name)
    return folder


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def trained(folder: Path, recipe: Path, out: Path, *more: object) -> str:
    """Train on the toy corpus; returns what was shown."""
    words = ["--recipe", recipe, "--out", out, "--corpus-kind", "manifest", *more]
    words += ["--corpus-path", folder / "manifest.jsonl"]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("name", MODELS)
def test_a_run_takes_the_result_as_its_seed_with_the_same_settings(
    folder: Path, tmp_path: Path, name: str
) -> None:
    named = "tiny" if name == "tiny" else str(folder / name)
    recipe = written(tmp_path, f'{TRAINING}[model]\nname = "{named}"\n{MODELS[name]}')
    assert "seed-test: loss" in trained(folder, recipe, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    section = read_recipe(recipe).model
    begun = starting_model(section.model_copy(update={"seed": str(tmp_path / "model")}), "en")
    untouched = starting_model(section, "en")
    made = dict(loaded.model.named_parameters())
    for parameter, value in begun.named_parameters():
        assert torch.equal(value, made[parameter]), parameter
    changed = [n for n, value in untouched.named_parameters() if not torch.equal(value, made[n])]
    trains = ("lora_B", "output.weight", "output.bias", "lm_head.weight", "lm_head.bias")
    assert changed and all(one.endswith(trains) for one in changed)


def test_a_model_file_is_trained_further_with_its_own_settings(folder: Path, tmp_path: Path) -> None:
    recipe = written(tmp_path, f'{TRAINING}[model]\nname = "{folder / "whisper"}"\n{MODELS["whisper"]}')
    trained(folder, recipe, tmp_path / "first")
    trained(folder, written(tmp_path, TRAINING), tmp_path / "second", "--from", tmp_path / "first")
    first, second = (load_model(tmp_path / name) for name in ("first", "second"))
    assert second.metadata["model"] == first.metadata["model"]
    assert trained_state(second.model).keys() == trained_state(first.model).keys()
    assert any(
        not torch.equal(a, b)
        for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True)
    )


def test_what_a_private_run_has_spent_stays_in_the_file(folder: Path, tmp_path: Path) -> None:
    lineage = (Ancestor(run="a-run", people="us", private=False),)
    made = load_model(murmuration_data.path("seed/model.safetensors")).model
    save_model(tmp_path / "seed", made, "tiny", {LINEAGE: lineage_to_json(lineage)})
    short = written(tmp_path, "[pretrain]\nepochs = 0\nsteps = 1\nheld-out = []\n")
    trained(folder, short, tmp_path / "model", "--from", tmp_path / "seed")
    assert lineage_of_model(tmp_path / "model") == lineage
    save_model(tmp_path / "seed", made, "tiny", {"privacy": "epsilon 3"})  # as of earlier releases
    words = ["--recipe", str(short), "--out", str(tmp_path / "other"), "--from", str(tmp_path / "seed")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2 and "do not contain what was spent" in result.output


def test_what_the_run_of_an_exported_folder_has_spent_stays_in_the_file(folder: Path, tmp_path: Path) -> None:
    lineage = (Ancestor(run="a-run", people="us", private=False),)
    exported = shutil.copytree(folder / "wav2vec2", tmp_path / "exported")
    (exported / EXPORTED).write_text(json.dumps({"privacy": "epsilon 3", LINEAGE: lineage_to_json(lineage)}))
    recipe = written(tmp_path, f"{TRAINING}[model]\n{MODELS['wav2vec2']}")
    trained(folder, recipe, tmp_path / "model", "--from", exported)
    assert lineage_of_model(tmp_path / "model") == lineage
    (exported / EXPORTED).write_text(json.dumps({"privacy": "epsilon 3"}))
    words = ["--recipe", recipe, "--out", tmp_path / "other", "--from", exported]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 2 and "does not contain what was spent" in result.output


def test_a_preset_goes_on_from_its_model_file(folder: Path, tmp_path: Path) -> None:
    seed = murmuration_data.path("seed/model.safetensors")
    gentle = written(tmp_path, "[pretrain]\nepochs = 0\nsteps = 1\nlearning-rate = 1e-9\nheld-out = []\n")
    trained(folder, gentle, tmp_path / "model", "--from", seed)
    loaded = load_model(tmp_path / "model", preset="tiny")
    for one, other in zip(loaded.model.parameters(), load_model(seed).model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_the_command_line_names_the_model_instead_of_the_recipe(folder: Path, tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, WINDOW), given_by(str(folder / "whisper")))
    assert (recipe.model.name, recipe.model.seed) == (str(folder / "whisper"), "base")
    start = recipe.start
    assert start is not None and start.identity["base model"] == ModelFolder(folder / "whisper").digest
    sent = pickle.loads(pickle.dumps(start))  # to the processes that train together
    assert sent.identity == start.identity and sent.make(ENGLISH).choice.name == recipe.model.name
    assert read_recipe(SEED_RECIPE).start is None


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--from nowhere: no model file, no folder, and no name"):
        given_by("nowhere")
    words = ["--from", "owner/absent", "--out", str(tmp_path / "m")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2 and "no model in" in result.output and "Traceback" not in result.output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("adapter-ranks = 3", r"model\.adapter-ranks = 3: no such key; did you mean 'model\.adapter-rank'"),
        ('trainable = "adapters"\nseed = "base"', r"model\.adapters is empty: name the layers"),
        ('adapters = "x"\nseed = "base"', r"model\.trainable = 'all': the adapters would never change"),
        ('window = "open"', r"model\.window = 'open': input should be 'padded' or 'short'"),
        ('name = "small"\n[pretrain]\npreset = "tiny"', r"both name the model; leave pretrain\.preset out"),
        ('name = "whisper"', r"unknown model preset 'whisper'"),
        ("adapter-rank = 0\n[pretrain]\nepochs = -1", r"(?s)model\.adapter-rank = 0.*pretrain\.epochs = -1"),
    ],
)
def test_a_table_that_cannot_be_used_names_key_value_and_remedy(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read_recipe(written(tmp_path, f"[model]\n{text}\n"))


FAULTS = {
    "a window that is too short": ("whisper", "max-seconds = 4.5", "all", "the model takes 4 seconds"),
    "parts of a weight": ("wav2vec2", "", "*encoder*", "are the length and the direction of a normed weight"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_model_that_a_run_would_refuse_is_refused(folder: Path, tmp_path: Path, case: str) -> None:
    model, corpus, trainable, message = FAULTS[case]
    text = f'[corpus]\n{corpus}\n[model]\ntrainable = "{trainable}"\n[pretrain]\nepochs = 1\n'
    words = ["--recipe", written(tmp_path, text), "--out", tmp_path / "m", "--from", folder / model]
    words += ["--corpus-kind", "manifest", "--corpus-path", folder / "manifest.jsonl"]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 2 and message in result.output


def test_layers_that_are_not_there_are_named(folder: Path, tmp_path: Path) -> None:
    table = '[model]\nadapters = "*.nothing"\ntrainable = "adapters"\n'
    words = ["--recipe", written(tmp_path, TRAINING + table), "--out", tmp_path / "m"]
    words += ["--from", folder / "whisper", "--corpus-kind", "manifest"]
    result = CliRunner().invoke(app, [str(w) for w in (*words, "--corpus-path", folder / "manifest.jsonl")])
    assert result.exit_code == 2 and "'*.nothing' names no linear layer" in result.output
