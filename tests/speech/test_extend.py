"""docs/extend.md: the corpus kind and the language of the page work as they are written there."""

import re
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from base.registries import CORPUS_KINDS, LANGUAGES
from base.registry import Registry
from speech.corpora.loading import load_corpus
from speech.model.checkpoint import load_model, save_model
from speech.model.ctc_transformer import build_model

PAGE = Path(__file__).parents[2] / "docs" / "extend.md"


def install(title: str, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a section's module, and register it by the entry point of the section, as an installed package."""
    section = re.search(rf"^## {title}$(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert section is not None
    (code,) = re.findall(r"```python\n(.*?)```", section[1], re.S)
    (group, name, module, attribute) = re.findall(
        r'entry-points\."([\w.]+)"\]\n(\w+) = "([\w.]+):(\w+)"', section[1]
    )[0]
    assert group == registry.group
    installed = ModuleType(module)
    exec(code, installed.__dict__)
    monkeypatch.setitem(__import__("sys").modules, module.partition(".")[0], ModuleType("my_package"))
    monkeypatch.setitem(__import__("sys").modules, module, installed)
    points = {name: EntryPoint(name=name, value=f"{module}:{attribute}", group=group)}
    monkeypatch.setitem(registry.__dict__, "_installed", points)


def test_the_corpus_kind_of_the_page_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install("A corpus kind", CORPUS_KINDS, monkeypatch)
    for name, text in {"train/ann/one": "Turn left!", "train/ann/two": None, "test/bob/one": "Stop."}.items():
        file = tmp_path / f"{name}.wav"
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, np.zeros(8_000), 16_000)
        if text is not None:
            file.with_suffix(".txt").write_text(text)
    corpus = load_corpus("folders", tmp_path)
    assert [(u.split, u.speaker, u.text) for u in corpus.all_utterances()] == [
        ("test", "bob", "stop"),
        ("train", "ann", "turn left"),
    ]
    assert [skipped.reason for skipped in corpus.skipped] == ["there is no transcript"]


def test_the_language_of_the_page_is_known_and_its_models_load_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as installed:
        install("A language", LANGUAGES, installed)
        model = build_model("tiny", "sw")
        assert model.config.num_outputs == 28
        save_model(tmp_path / "sw.safetensors", model, "tiny")
    assert "sw" not in LANGUAGES
    assert load_model(tmp_path / "sw.safetensors").alphabet == model.config.alphabet
