"""Pre-trained models by their folder or their name, and model files whose base model lies elsewhere."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from cli.main import app
from cli.models import open_model
from privacy import SpendingUnknown
from privacy.ledger.lineage import lineage_from_json
from recipes.model_section import ModelSection
from server.report.model_card import card_of_file
from server.storage.ancestry import lineage_of_start
from speech.errors import SpeechError
from speech.export import describe
from speech.model import adapted_file
from speech.model.checkpoint import LoadedModel, load_model, save_model
from speech.model.ctc_transformer import build_model
from speech.pretrained.store import add_model
from tests.corpora import make_corpus
from tests.pretrained_models import ADAPTED, load, random_adapters_, tiny_model
from tests.server.in_process import federate, recipe, run_of_folder

NAME = "owner/tiny"
TABLE = {"model.adapters": ADAPTED["wav2vec2"], "model.trainable": "adapters", "model.adapter-rank": 4}


def murmur(*arguments: object):
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    tiny_model("wav2vec2", folder / "wav2vec2")
    (folder / "wav2vec2" / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    make_corpus(folder / "corpus", {"train": 5, "test": 2})
    _save_adapted(folder / "adapted.safetensors", folder / "wav2vec2")
    return folder


def _save_adapted(file: Path, base: Path) -> None:
    model = load(base, ADAPTED["wav2vec2"]).requires_grad_(False)
    random_adapters_(model)
    save_model(file, model, str(base))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MURMUR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def evaluated(made: Path, *arguments: object) -> dict:
    corpus = made / "corpus" / "manifest.jsonl"
    done = murmur("evaluate", *arguments, "--path", corpus, "--kind", "manifest", "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_an_untouched_model_is_evaluated_by_its_folder_or_its_name(made: Path, home: Path) -> None:
    add_model(NAME, made / "wav2vec2")
    by_folder = evaluated(made, made / "wav2vec2")
    by_name = evaluated(made, "--model", NAME, "--against", made / "adapted.safetensors")
    assert by_folder["wer"] == by_name["wer"] and by_name["preset"] == NAME
    assert by_name["against"]["cer"] != by_name["cer"]


def test_the_model_is_given_once(made: Path) -> None:
    done = murmur("evaluate", made / "wav2vec2", "--model", made / "adapted.safetensors")
    assert done.exit_code == 2 and "given twice" in done.output


def test_a_model_file_is_used_with_its_base_model_elsewhere(made: Path, tmp_path: Path) -> None:
    moved, file = tmp_path / "moved", tmp_path / "adapted.safetensors"
    tiny_model("wav2vec2", tmp_path / "first")
    _save_adapted(file, tmp_path / "first")
    (tmp_path / "first").rename(moved)
    with pytest.raises(SpeechError, match="there is no such folder"):
        open_model(file)
    assert evaluated(made, file, "--base-model", moved)["wer"]
    leaves = ("--model", file, "--base-model", moved, "--format", "peft", tmp_path / "out")
    assert murmur("export", *leaves).exit_code == 0
    other = tiny_model("wav2vec2", tmp_path / "other", vocab_size=31)
    with pytest.raises(SpeechError, match="give the folder of the model that it was made of"):
        open_model(file, base_model=other)


def test_what_is_neither_a_file_nor_a_model_is_refused(home: Path, tmp_path: Path) -> None:
    for missing in (Path("owner/absent"), tmp_path):
        with pytest.raises(SpeechError, match="no such model file"):
            open_model(missing)


def test_a_model_file_leaves_as_a_folder_with_a_short_card(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = murmur("export", "--model", made / "adapted.safetensors", "--format", "huggingface", out)
    assert done.exit_code == 0, done.output
    card = (out / "README.md").read_text()
    header = yaml.safe_load(card.split("---\n")[1])
    assert header["library_name"] == "transformers" and header["license"] == "other"
    assert "none: not a model of a federation" in card and "merged into the base model's weights" in card
    assert "licence apache-2.0" in card
    assert json.loads((out / "murmuration.json").read_text())["base_licence"] == "apache-2.0"
    again = murmur("export", "--model", made / "adapted.safetensors", "--format", "huggingface", out)
    assert again.exit_code == 2 and "something is there already" in again.stderr


def test_options_that_do_not_fit_are_refused(made: Path, tmp_path: Path) -> None:
    file, one, other = made / "adapted.safetensors", tmp_path / "a", tmp_path / "b"
    done = murmur("export", "--model", file, "--format", "peft", one, other)
    assert done.exit_code == 2 and "writes one folder" in done.output
    done = murmur("export", "--model", file, "--dtype", "float16", tmp_path / "m.onnx")
    assert done.exit_code == 2 and "--dtype is for" in done.output
    preset = tmp_path / "m.safetensors"
    save_model(preset, build_model("tiny", seed=0), "tiny")
    done = murmur("export", "--model", preset, "--format", "huggingface", one)
    assert done.exit_code == 2 and "a preset of ours" in done.stderr and not one.exists()


def test_a_card_and_an_export_do_not_say_in_which_folder_a_base_model_was(made: Path) -> None:
    loaded = open_model(made / "adapted.safetensors")
    card = card_of_file(loaded, None, "none", form="merged")
    assert "# wav2vec2, exported" in card and "Base model `wav2vec2` (revision" in card
    told = describe(loaded, licence="", privacy="none")
    assert (told["base_model"], told["base_digest"]) == ("wav2vec2", loaded.metadata[adapted_file.DIGEST])
    assert made.name not in card + json.dumps(told)


def test_a_run_leaves_in_both_layouts_with_its_card_and_its_epsilon(
    made: Path, home: Path, tmp_path: Path
) -> None:
    add_model(NAME, made / "wav2vec2", revision="abc")
    corpus = made / "corpus" / "manifest.jsonl"
    changes = {**TABLE, "model.name": NAME, "model.seed": "base", "training.rounds": 1}
    run = federate(recipe(corpus, **changes))
    card = (run / "card.md").read_text()
    assert "kept beside the base model's weights" in card and "revision abc" in card
    assert "Trained parameters: `*.lora_B`" in card and "(alpha 16, B trained, A fixed at random)" in card
    for form, library, words in (
        ("huggingface", "transformers", "merged into"),
        ("peft", "peft", "here alone, without"),
    ):
        out = tmp_path / form
        done = murmur("export", "--run", run, "--format", form, out, "--licence", "cc-by-4.0")
        assert done.exit_code == 0, done.output
        readme = (out / "README.md").read_text()
        header = yaml.safe_load(readme.split("---\n")[1])
        assert (header["library_name"], header["license"]) == (library, "cc-by-4.0")
        assert header["base_model"] == NAME and words in readme
        told = json.loads((out / "murmuration.json").read_text())
        assert told["privacy"].startswith("epsilon ") and told["privacy"].split()[1] in readme
        assert told["run"] == run_of_folder(run)
        assert told["lineage"] == load_model(run / "model.safetensors").metadata["lineage"]


def test_a_run_that_starts_from_an_exported_folder_inherits_what_was_spent(
    made: Path, home: Path, tmp_path: Path
) -> None:
    add_model(NAME, made / "wav2vec2")
    corpus = made / "corpus" / "manifest.jsonl"
    changes = {**TABLE, "model.name": NAME, "model.seed": "base", "training.rounds": 1}
    run = federate(recipe(corpus, **changes))
    assert murmur("export", "--run", run, "--format", "huggingface", tmp_path / "out").exit_code == 0
    changes |= {"model.name": str(tmp_path / "out")}
    section: ModelSection = recipe(corpus, **changes).model
    (first,) = lineage_of_start(section)
    assert first.run == run_of_folder(run) and first.releases[0].count == 1
    second = federate(recipe(corpus, **changes), run_id="2")
    lineage = lineage_from_json(load_model(second / "model.safetensors").metadata["lineage"])
    assert [one.run for one in lineage] == [run_of_folder(run), run_of_folder(second)]
    told = json.loads((tmp_path / "out" / "murmuration.json").read_text())
    del told["lineage"]
    (tmp_path / "out" / "murmuration.json").write_text(json.dumps(told))
    with pytest.raises(SpendingUnknown, match="exported from a private run"):
        lineage_of_start(section)


def test_the_card_of_a_model_for_short_input_warns_who_uses_it_elsewhere(tmp_path: Path) -> None:
    model = load(tiny_model("whisper", tmp_path / "w"), ADAPTED["whisper"], window="short")
    loaded = LoadedModel(model=model, preset="owner/tiny", metadata=adapted_file.metadata(model))
    assert "Made for short input" in card_of_file(loaded, None, "none", form="run")
    warning = "Other libraries fill its window"
    assert warning in card_of_file(loaded, None, "none", form="merged")
    model.choice = replace(model.choice, window="padded")
    assert "short input" not in card_of_file(loaded, None, "none", form="merged")
