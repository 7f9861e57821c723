"""`murmur doctor` on a node's copy of a pre-trained model: which it is, and what of it a run would refuse."""

import json

import pytest
import tomli_w

from speech.pretrained.folder import ModelFolder
from tests.cli.deploy.test_doctor import consult
from tests.pretrained_models import tiny_model

NAME = "maker/whisper"
ALLOWED = ("--models", f"tiny,{NAME}")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tiny_model("whisper", tmp_path_factory.mktemp("models") / "whisper")
    (folder / "README.md").write_text("---\nlicense: mit\n---\nA model.\n")
    (folder / ".revision").write_text("abc123\n")
    return folder


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("MURMUR_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "models" / "maker").mkdir(parents=True)
    return tmp_path / "home" / "models"


@pytest.fixture
def recipe(tmp_path):
    def write(**model):
        section = {"name": NAME, "seed": "base", "adapters": "*.q_proj", "trainable": "adapters", **model}
        path = tmp_path / "recipe.toml"
        path.write_text(tomli_w.dumps({"model": section}))
        return path

    return write


def test_it_says_which_model_a_node_has(model):
    code, words = consult("--base-model", model, *ALLOWED)
    assert code == 0, words
    told = f"base model {model}: family whisper, licence mit, revision abc123, model.digest "
    assert f"ok     {told}{ModelFolder(model).digest}" in words
    assert "limit" not in words


def test_a_model_of_the_store_is_found_by_its_name(model, store):
    (store / NAME).symlink_to(model)
    code, words = consult("--base-model", NAME, *ALLOWED)
    assert code == 0 and f"base model {store / NAME}: family whisper" in words and "WARN" not in words


def test_a_model_without_licence_and_revision_says_so(tmp_path):
    _, words = consult("--base-model", tiny_model("whisper", tmp_path / "plain"))
    assert "licence not known, revision not known" in words


def test_the_right_digest_and_a_wrong_one(model):
    digest = ModelFolder(model).digest
    code, words = consult("--base-model", model, "--model-digest", digest, *ALLOWED)
    assert code == 0 and f"model.digest {digest}, that of the run" in words
    code, words = consult("--base-model", model, "--model-digest", "0" * 64, *ALLOWED)
    assert (
        code == 1 and f"model.digest {digest}, and the run's model has {'0' * 64}: copy the folder" in words
    )


def test_a_recipe_that_fits_and_one_that_does_not(model, recipe):
    own = ("--base-model", model, *ALLOWED)
    code, words = consult(*own, "--recipe", recipe(digest=ModelFolder(model).digest))
    layers = 2 + 2 * 2  # those named q_proj: one in each encoder layer, two in each decoder layer
    assert code == 0 and f"recipe.toml: trains {layers * 32 * 8:,} parameters of this model" in words
    code, words = consult(*own, "--recipe", recipe(digest="0" * 64))
    assert code == 1 and f"the run's model has {'0' * 64}: copy the folder" in words
    code, words = consult(*own, "--recipe", recipe(adapters="*.no_such"))
    assert code == 1 and "'*.no_such' names no linear layer" in words
    code, words = consult(*own, "--recipe", recipe(adaptors="x"))
    assert code == 1 and "FAULT  recipe" in words and "adaptors" in words


def test_the_digest_of_a_recipe_counts_beside_the_given_one(model, recipe):
    digest = ModelFolder(model).digest
    given = ("--base-model", model, "--model-digest", digest, *ALLOWED)
    code, words = consult(*given, "--recipe", recipe(digest="0" * 64))
    assert code == 1 and f"model.digest = {'0' * 64}: the model in {model} has {digest}" in words
    assert consult(*given, "--recipe", recipe(digest=digest))[0] == 0


def test_a_recipe_alone_asks_for_the_copy_in_the_store(model, recipe, store):
    code, words = consult("--recipe", recipe(), *ALLOWED)
    assert code == 1 and f"no model in {store}" in words
    (store / NAME).symlink_to(model)
    code, words = consult("--recipe", recipe(), *ALLOWED)
    assert code == 0 and f"base model {store / NAME}" in words


def test_a_recipe_with_a_path_of_the_servers_needs_a_copy_that_the_node_names(model, recipe):
    theirs = recipe(name="/srv/whisper")
    code, words = consult("--recipe", theirs)
    assert code == 1 and "'/srv/whisper' is a path of the server's" in words and "base-model=" in words
    code, words = consult("--recipe", theirs, "--base-model", model, "--models", "any")
    assert code == 0 and "WARN" not in words


@pytest.mark.parametrize(
    ("models", "words"),
    [
        (None, "(the default) does not allow maker/whisper: --node-config 'models=\"maker/whisper\"' does"),
        ("tiny", "limit models: models = tiny does not allow maker/whisper"),
        ("tiny,maker/whisper", ""),
        ("any", ""),
    ],
)
def test_it_warns_where_the_limit_does_not_allow_the_model(model, recipe, models, words):
    given = () if models is None else ("--models", models)
    code, said = consult("--base-model", model, "--recipe", recipe(), *given)
    assert code == 0 and ("WARN   limit models" in said) == bool(words)
    assert words in said


def test_a_folder_without_a_name_is_allowed_where_some_pre_trained_model_is(model):
    assert "WARN   limit models" in consult("--base-model", model)[1]
    assert "limit models" not in consult("--base-model", model, *ALLOWED)[1]


def test_a_limit_that_is_none_is_a_fault(model):
    code, words = consult("--base-model", model, "--models", "gigantic")
    assert code == 1 and "FAULT  limit models" in words


def test_what_is_no_model_is_a_fault(model, tmp_path):
    code, words = consult("--base-model", tmp_path / "nowhere")
    assert code == 1 and "FAULT  base model: " in words and "there is no such folder" in words
    config = json.loads((model / "config.json").read_text())
    for file in model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "nothing-known"}))
    code, words = consult("--base-model", tmp_path)
    assert code == 1 and "transformers cannot use its config.json" in words


def test_a_preset_needs_no_copy(recipe):
    code, words = consult("--recipe", recipe(name="tiny", seed="embedded", adapters="", trainable="all"))
    assert code == 0 and "base model: model.name = 'tiny' needs none" in words and "limit" not in words


def test_options_that_would_compare_nothing_are_refused():
    for option, value in (("--model-digest", "0" * 64), ("--models", "any")):
        code, words = consult(option, value)
        words = " ".join(words.replace("│", "").split())
        assert code == 2 and f"{option} {value} checks nothing alone: give --base-model too" in words
