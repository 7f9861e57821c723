"""A language that nobody registered, from a file to a model: compose, federate, load, decode, transcribe."""

from pathlib import Path

import pytest
import torch
from flwr.app import Context, Message, RecordDict

from cli.composing import default_config
from cli.run.settings import compose
from client.app import app
from client.node_speech import NodeSpeech
from recipes import ConfigError, RunConfig
from server.federation import run_federation
from speech.decoding import greedy
from speech.errors import CheckpointMismatch, LanguageError
from speech.model.checkpoint import load_model
from speech.text import ENGLISH, alphabet_of
from speech.transcription.transcriber import Transcriber
from tests.corpora import WORDS, make_corpus
from tests.speech.test_decoding import certain
from tests.strategies.flower import FakeGrid

LETTERS = "абвгґдеєжзиіїйклмнопрстуфхцчшщьюя'-"
UKRAINIAN = dict(zip(WORDS, ("один", "два", "три", "чотири", "п’ять"), strict=True))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = make_corpus(tmp_path_factory.mktemp("corpus"), {"train": 3, "test": 1}, utterances=2)
    text = path.read_text()
    for english, ukrainian in UKRAINIAN.items():
        text = text.replace(english, ukrainian)
    path.write_text(text, encoding="utf-8")
    return path


def config(manifest: Path, folder: Path, **settings: object) -> RunConfig:
    """A recipe whose language is a file, as `murmur run` composes it."""
    file = folder / "uk.txt"
    file.write_text(f"{LETTERS}\n", encoding="utf-8")
    flat = compose(
        None,
        None,
        {
            "corpus.kind": "manifest",
            "corpus.path": str(manifest),
            "corpus.language": str(file),
            "corpus.feature-cache": False,
            "model.seed": "random",
            "training.rounds": 1,
            "training.cohort": 2.0,
            "run.folder": str(folder / "runs"),
            "privacy.population-name": "ukrainian-test",
            **settings,
        },
    )
    file.unlink()  # from here on, nothing opens it
    return RunConfig.from_flat({**default_config(), **flat})


def test_a_run_in_an_own_alphabet_ends_with_a_model_that_any_machine_can_use(
    manifest: Path, tmp_path: Path
) -> None:
    recipe = config(manifest, tmp_path)
    assert (recipe.corpus.language, recipe.corpus.characters) == ("uk", f"{LETTERS} ")

    def node(message: Message) -> RecordDict:
        parts = {"partition-id": 0, "num-partitions": 1}
        own = Context(run_id=1, node_id=1, node_config=parts, state=RecordDict(), run_config=recipe.to_flat())
        return app(message, own).content

    folder = run_federation(FakeGrid({1: node}), recipe, run_id="1")
    loaded = load_model(folder / "model.safetensors")
    alphabet = alphabet_of("uk", LETTERS)
    assert loaded.alphabet == alphabet and loaded.model.config.num_outputs == len(LETTERS) + 2
    started = load_model(folder / "seed.safetensors").model.state_dict()
    assert not torch.equal(started["output.weight"], loaded.model.state_dict()["output.weight"])
    assert greedy(*certain(["п'ять_ два"], alphabet)) == ["п'ять два"]
    words = Transcriber(loaded)(manifest.parent / "test-00-0.flac")
    assert set("".join(word.text for phrase in words for word in phrase)) <= set(LETTERS)
    with pytest.raises(CheckpointMismatch, match=r"lacks 'a', 'b'.* has in addition 'а', 'б'"):
        load_model(folder / "model.safetensors", language=ENGLISH)


def test_a_node_of_other_characters_is_refused_by_their_names(manifest: Path, tmp_path: Path) -> None:
    corpus = config(manifest, tmp_path).corpus
    own = {"corpus-path": str(manifest), "corpus-language": "uk"}
    assert NodeSpeech.of(corpus, own).corpus.characters == f"{LETTERS} "
    with pytest.raises(ConfigError, match=r"corpus-language='en'.* it lacks 'а', .* has in addition 'a'"):
        NodeSpeech.of(corpus, {**own, "corpus-language": "en"})
    with pytest.raises(ConfigError, match=r"it lacks 'ґ'"):
        NodeSpeech.of(corpus, {**own, "corpus-characters": LETTERS.replace("ґ", "")})


def test_a_language_without_characters_is_refused(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(LanguageError, match="'uk' is not registered, and is no file"):
        compose(None, None, {"corpus.language": "uk"})
    with pytest.raises(ConfigError, match=r"corpus.language = 'uk': not registered; .* give corpus"):
        RunConfig.from_flat({**default_config(), "corpus.language": "uk"})
    flat = compose(None, None, {"corpus.kind": "embedded", "corpus.language": "en"})
    assert flat["corpus.characters"] == ""
