"""A node's own copy of a pre-trained model: which it takes, and what the server is told of a wrong one."""

import pytest

from optim.trainable import freeze, frozen_digest
from speech.model.adapters import Adapters
from speech.model.choice import ModelChoice
from speech.pretrained.folder import ModelFolder
from speech.text import ENGLISH
from tests.client.test_app import ask, context
from tests.corpora import make_corpus
from tests.model_copies import other_copy
from tests.pretrained_models import tiny_model

NAME, LAYERS = "maker/whisper", "*.q_proj"
RUN = {
    "model.name": NAME,
    "model.seed": "base",
    "model.adapters": LAYERS,
    "model.trainable": "adapters",
    "corpus.max-seconds": 4.0,
}
REMEDY = "--node-config 'base-model=\"...\"'"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"), {"train": 2, "test": 1})


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """The server's model, and another one of the same shape."""
    own = tmp_path_factory.mktemp("models")
    server = tiny_model("whisper", own / "server")
    return server, other_copy(server, own / "other")


@pytest.fixture(autouse=True)
def empty_store(tmp_path, monkeypatch):
    monkeypatch.setenv("MURMUR_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "models"


def frozen_of(folder):
    """What the server asks for whose model this is."""
    model = ModelChoice(name=str(folder), adapters=Adapters(layers=LAYERS)).make(ENGLISH)
    freeze(model, "*.lora_B")
    return frozen_digest(model)


def asked(manifest, server, own=None, **settings):
    """A node's answer at registration; `own` is beside the path of its speech."""
    node = {"corpus-kind": "manifest", "corpus-path": str(manifest), "limits": "none", **(own or {})}
    return ask(context(manifest, node_config=node, **{**RUN, **settings}), frozen=frozen_of(server))


def test_a_node_registers_with_its_own_copy_wherever_that_lies(manifest, copies, empty_store):
    server, _ = copies
    assert asked(manifest, server, {"base-model": str(server)})["speakers"] == 2
    (empty_store / "maker").mkdir(parents=True)
    (empty_store / NAME).symlink_to(server)
    assert asked(manifest, server)["speakers"] == 2


def test_another_copy_is_refused_by_the_digest_of_what_is_frozen(manifest, copies, caplog):
    server, other = copies
    problem = asked(manifest, server, {"base-model": str(other)})["problem"]
    assert "model.trainable: the parameters that are not trained are not those of the server" in problem
    assert REMEDY in problem and NAME in problem and "seed-path" not in problem
    assert problem in caplog.text
    assert str(other) not in problem


def test_another_copy_is_refused_by_the_digest_of_the_recipe(manifest, copies, caplog):
    server, other = copies
    pinned = {"model.digest": ModelFolder(server).digest}
    problem = asked(manifest, server, {"base-model": str(other)}, **pinned)["problem"]
    assert (
        problem.startswith("--node-config base-model: it is not the model of the run") and "copy" in problem
    )
    assert str(other) in caplog.text and str(other) not in problem
    assert asked(manifest, server, {"base-model": str(server)}, **pinned)["speakers"] == 2


def test_another_copy_in_the_store_is_refused_by_the_digest_of_the_recipe(manifest, copies, empty_store):
    server, other = copies
    (empty_store / "maker").mkdir(parents=True)
    (empty_store / NAME).symlink_to(other)
    problem = asked(manifest, server, **{"model.digest": ModelFolder(server).digest})["problem"]
    assert f"model.name = '{NAME}'" in problem and REMEDY in problem


def test_a_node_opens_no_path_that_the_server_names(manifest, copies):
    server, _ = copies
    problem = asked(manifest, server, **{"model.name": str(server)})["problem"]
    assert "a node opens no path that a server names" in problem and REMEDY in problem
    assert (
        asked(manifest, server, {"base-model": str(server)}, **{"model.name": str(server)})["speakers"] == 2
    )


def test_a_node_without_the_model_is_told_where_to_put_it(manifest, copies, empty_store):
    problem = asked(manifest, copies[0])["problem"]
    assert REMEDY in problem and f"`murmur model add {NAME} FOLDER`" in problem
    assert str(empty_store) not in problem


def test_a_folder_that_is_not_there_stays_on_the_node(manifest, copies, tmp_path, caplog):
    problem = asked(manifest, copies[0], {"base-model": str(tmp_path / "of-the-owner")})["problem"]
    assert problem.startswith("--node-config base-model: there is no such folder: copy")
    assert "of-the-owner" in caplog.text and "of-the-owner" not in problem


def test_a_limit_on_models_holds_for_pre_trained_ones(manifest, copies):
    server, _ = copies
    own = {"base-model": str(server)}
    assert asked(manifest, server, {**own, "models": f"tiny,{NAME}"})["speakers"] == 2
    problem = asked(manifest, server, {**own, "models": "tiny,maker/other"})["problem"]
    assert f"model.name = {NAME}: beyond this node's limit, models = tiny,maker/other" in problem
