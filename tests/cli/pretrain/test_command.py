import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

import murmuration_data
from base.registries import MODEL_PRESETS
from cli.pretrain import command as pretrain
from cli.pretrain.recipe import SEED_RECIPE, read_recipe
from recipes import ConfigError
from speech.corpora.loading import load_corpus
from speech.data.examples import ExampleStore
from speech.evaluation.evaluation import evaluate
from speech.model.checkpoint import load_model
from speech.pretraining import PretrainConfig
from speech.pretraining.distributed import Processes
from speech.pretraining.schedules import learning_rate_scale
from tests.speech import toy

app = typer.Typer()
app.command()(pretrain.pretrain)


MURMUR = [sys.executable, "-c", "from cli.main import main; main()"]
TORCHRUN = [
    sys.executable,
    "-m",
    "torch.distributed.run",
    "--standalone",
    "--nproc-per-node",
    "2",
    "--no-python",
]


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_it_trains_from_a_recipe_and_says_how_well(tmp_path: Path) -> None:
    manifest = toy.write_corpus(tmp_path)
    (tmp_path / "seed-0-1.wav").write_bytes(b"")
    recipe = written(tmp_path, "[pretrain]\nepochs = 2\nbatch-size = 4\n")
    out = tmp_path / "new" / "model.safetensors"
    arguments = ["--recipe", recipe, "--out", out, "--corpus-kind", "manifest", "--corpus-path", manifest]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    assert "epoch   2/2" in result.output and "seed-test: loss" in result.output and "WER" in result.output
    assert "1 utterance skipped" in result.output and "seed-0-1.wav" in result.output
    loaded = load_model(out, preset="tiny")
    assert loaded.metadata["corpus"] == load_corpus("manifest", manifest).digest
    assert PretrainConfig.model_validate_json(loaded.metadata["recipe"]).epochs == 2


def test_a_number_of_synthetic_speakers_is_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[tuple[str, str]] = []
    monkeypatch.setattr(
        pretrain, "load_by_rules", lambda kind, place, rules: loaded.append((kind, place)) or 1 / 0
    )
    words = ["--out", str(tmp_path / "m"), "--corpus-path", "5"]
    for more in (["--corpus-kind", "synthetic"], ["--corpus-kind", "manifest"]):
        CliRunner().invoke(app, [*words, *more])
    assert loaded == [("synthetic", "5"), ("manifest", str(Path("5").resolve()))]


def test_killed_and_resumed_it_makes_the_same_model(tmp_path: Path) -> None:
    manifest = toy.write_corpus(tmp_path)
    recipe = written(tmp_path, "[pretrain]\nepochs = 12\nbatch-size = 4\n")

    def arguments(out: str, *more: str) -> list[str]:
        words = ["--recipe", recipe, "--out", tmp_path / out, "--corpus-kind", "manifest"]
        return [str(word) for word in (*words, "--corpus-path", manifest, "--snapshot-every", "1", *more)]

    command = [*MURMUR, "pretrain", *arguments("killed")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("epoch   1/12")
    process.kill()
    process.wait()
    process.stdout.close()
    assert (tmp_path / "killed.snapshot").is_file() and not (tmp_path / "killed").exists()

    refused = CliRunner().invoke(app, arguments("killed"))
    assert refused.exit_code == 2 and "continue it with --resume" in refused.output
    for words in (arguments("killed", "--resume"), arguments("whole")):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
    assert not (tmp_path / "killed.snapshot").exists()
    killed, whole = (load_model(tmp_path / name).model for name in ("killed", "whole"))
    assert all(torch.equal(a, b) for a, b in zip(killed.parameters(), whole.parameters(), strict=True))


def test_two_processes_of_torchrun_train_one_model(tmp_path: Path) -> None:
    """Real processes, and so some seconds; those that we start ourselves are in tests/speech."""
    arguments = two_passes(tmp_path)
    result = subprocess.run([*TORCHRUN, *MURMUR, "pretrain", *arguments], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("epoch   2/2") == 1, "only one of them speaks"
    assert "early look: loss" in result.stdout and "kept: epoch" in result.stdout
    assert load_model(tmp_path / "model").preset == "tiny"


def test_processes_are_launched_with_what_can_be_sent_to_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[int] = []

    def run_here(count: int, *work: object) -> None:
        launched.append(count)
        function, *arguments = pickle.loads(pickle.dumps(work))
        function(Processes(), *arguments)

    monkeypatch.setattr(pretrain, "launch", run_here)
    result = CliRunner().invoke(app, [*two_passes(tmp_path), "--processes", "3"])
    assert result.exit_code == 0, result.output
    assert launched == [3]
    assert load_model(tmp_path / "model").preset == "tiny"


def two_passes(folder: Path) -> list[str]:
    """The arguments of a short training that shows all that can be shown."""
    manifest = toy.write_corpus(folder)
    settings = 'epochs = 2\nbatch-size = 4\nlook-every = 2\nkeep = "best"\nevaluate-every = 1\n'
    recipe = written(folder, f"[pretrain]\n{settings}")
    words = ["--recipe", recipe, "--out", folder / "model", "--corpus-kind", "manifest"]
    return [str(word) for word in (*words, "--corpus-path", manifest)]


def test_the_shipped_recipe_says_everything() -> None:
    recipe = read_recipe(SEED_RECIPE)
    assert recipe.corpus.kind == "embedded" and recipe.pretrain.preset == "tiny"
    text = SEED_RECIPE.read_text(encoding="utf-8")
    for field in PretrainConfig.model_fields.values():
        assert f"\n{field.alias} = " in text


def test_the_recipe_of_the_papers_seed_is_the_papers() -> None:
    recipe = read_recipe(SEED_RECIPE.with_name("paper-seed.toml")).pretrain
    assert (recipe.preset, recipe.optimiser, recipe.learning_rate) == ("paper", "lars", 0.5)
    assert (recipe.momentum, recipe.trust_coefficient, recipe.warm_up) == (0.9, 0.001, 0.0)
    assert recipe.batch_limit.seconds == 8 * 240
    rates = {done: learning_rate_scale(done, recipe.steps, recipe) for done in (0, 39_999, 40_000, 90_000)}
    assert list(rates.values()) == [1.0, 1.0, 0.5, 0.25]
    assert learning_rate_scale(recipe.steps - 1, recipe.steps, recipe) == 2.0**-6


@pytest.mark.parametrize("path", sorted(SEED_RECIPE.parent.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_of_central_training_is_valid(path: Path) -> None:
    read_recipe(path)


def test_the_shipped_seed_model_comes_from_the_shipped_recipe_and_corpus() -> None:
    loaded = load_model(murmuration_data.path("seed/model.safetensors"), preset="tiny")
    corpus = load_corpus("embedded", "")
    recipe = read_recipe(SEED_RECIPE).pretrain
    assert loaded.metadata["corpus"] == corpus.digest, "the corpus has changed: remake the seed model"
    assert PretrainConfig.model_validate_json(loaded.metadata["recipe"]) == recipe
    store = ExampleStore(corpus, MODEL_PRESETS["tiny"].features)
    # It recognises its own domain well, and the other one badly: the federation adapts it.
    assert evaluate(loaded.model, store.split_examples("seed-test")).wer < 0.2
    assert 0.5 < evaluate(loaded.model, store.split_examples("test")).wer < 0.8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[pretrain]\nepoch = 3", r"pretrain.epoch = 3: no such key; did you mean 'pretrain.epochs'"),
        ("[train]\nepochs = 3", r"train.epochs = 3: no such key; did you mean 'pretrain.epochs'"),
        (
            "[corpus]\nfolder = 'x'",
            r"corpus.folder = 'x': no such key; known are corpus.kind, corpus.path",
        ),
        ("[pretrain]\nepochs = 'three'", r"pretrain.epochs = 'three': input should be a valid integer"),
        ("[pretrain]\nepochs = 1.5", r"pretrain.epochs = 1.5: input should be a valid integer"),
        ("[pretrain]\nspec-augment = 1", r"pretrain.spec-augment = 1: input should be a valid boolean"),
        ("[pretrain]\nlearning-rate = nan", r"pretrain.learning-rate = nan: input should be"),
        ("[pretrain]\nbatch-size = -1", r"pretrain.batch-size = -1: .*greater than or equal to 0"),
        ("[pretrain]\nbatch-size = 0", r"batch-size = 0 and batch-seconds = 0: set exactly one of them"),
        ("[pretrain]\nsteps = 9", r"epochs = 20 and steps = 9: set exactly one of them above 0"),
        ("[pretrain\n", "is no TOML"),
    ],
)
def test_a_recipe_that_cannot_be_used_names_key_value_and_remedy(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read_recipe(written(tmp_path, text))


def test_every_fault_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"(?s)epochs = -1.*batch-size = -1"):
        read_recipe(written(tmp_path, "[pretrain]\nepochs = -1\nbatch-size = -1"))


def test_errors_are_one_clear_message_and_status_1(tmp_path: Path) -> None:
    good = written(tmp_path, "[pretrain]\nepochs = 1\n")
    wrong = [
        (["--recipe", tmp_path / "absent.toml", "--out", tmp_path / "m"], "absent.toml cannot be read"),
        (["--recipe", good, "--out", tmp_path], "is a folder"),
        (
            ["--recipe", good, "--out", tmp_path / "m", "--corpus-kind", "vinyl"],
            "unknown corpus kind 'vinyl'",
        ),
        (["--recipe", good, "--out", good / "m"], "error:"),
    ]
    for arguments, message in wrong:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 2 and message in result.output
        assert "Traceback" not in result.output
