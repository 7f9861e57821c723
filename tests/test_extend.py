"""docs/extend.md: what the page builds works as it is written there."""

import math
import re
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import torch

from base import registries
from base.registries import CLIP_RULES, CORPUS_KINDS, LANGUAGES, MODEL_PRESETS, SERVER_OPTIMISERS
from base.registry import Registry
from cli.composing import default_config
from privacy import ClipBounds
from recipes import RunConfig, checkout
from server.factory import make_server_step
from speech.corpora.loading import load_corpus
from speech.model.checkpoint import load_model, save_model
from speech.model.ctc_transformer import build_model
from strategies import DPFedOpt, StreamingGrid, strategy_class
from tests.strategies.federation import LAYOUT, honest, make_parts
from tests.strategies.flower import FakeGrid

PAGE = checkout() / "docs" / "extend.md"


def install(title: str, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Run a section's module, and register it by the entry point of the section, as an installed package."""
    section = re.search(rf"^## {title}$(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert section is not None
    (code,) = re.findall(r"```python\n(.*?)```", section[1], re.S)
    (group, name, module, attribute) = re.findall(
        r'entry-points\."([\w.]+)"\]\n([\w-]+) = "([\w.]+):(\w+)"', section[1]
    )[0]
    assert group == registry.group
    installed = ModuleType(module)
    exec(code, installed.__dict__)
    monkeypatch.setitem(__import__("sys").modules, module.partition(".")[0], ModuleType("my_package"))
    monkeypatch.setitem(__import__("sys").modules, module, installed)
    points = {name: EntryPoint(name=name, value=f"{module}:{attribute}", group=group)}
    monkeypatch.setitem(registry.__dict__, "_installed", points)
    return installed


def all_registries() -> list[Registry]:
    return [one for one in vars(registries).values() if isinstance(one, Registry)]


def recipe(**changes: str) -> RunConfig:
    """The default run with these settings, written with "__" for the point."""
    return RunConfig.from_flat(
        {**default_config(), **{k.replace("__", ".").replace("_", "-"): v for k, v in changes.items()}}
    )


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


def test_the_clip_rule_of_the_page_splits_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    install("A clip rule", CLIP_RULES, monkeypatch)
    rule = recipe(privacy__clip_rule="by-logarithm").privacy.clip_rule
    bounds = ClipBounds.of(rule, 1.0, LAYOUT).bounds
    assert sum(bound**2 for bound in bounds) == pytest.approx(1.0)
    ratios = [bound / math.log(1 + size) for bound, size in zip(bounds, LAYOUT.sizes, strict=True)]
    assert ratios == pytest.approx([ratios[0]] * len(ratios))


def test_the_strategy_of_the_page_releases_a_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lion = install("A strategy", SERVER_OPTIMISERS, monkeypatch)
    section = recipe(server__optimiser="lion").server
    optimiser, _ = make_server_step(section, LAYOUT)
    assert isinstance(optimiser, lion.Lion) and optimiser.beta2 == section.beta2
    assert strategy_class("lion") is DPFedOpt
    strategy = lion.DPFedLion(**make_parts(tmp_path, {1: 4}, z=0.01), learning_rate=0.5)
    node = honest(lambda number: torch.ones(LAYOUT.size))
    strategy.start(StreamingGrid(FakeGrid({1: node})), strategy.arrays(), num_rounds=1, timeout=60.0)
    assert set(strategy.vector.tolist()) == {-0.5}  # a step against every coordinate's sign


def test_the_model_of_the_page_is_a_preset_of_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    install("A model", MODEL_PRESETS, monkeypatch)
    assert len(build_model(recipe(model__name="deeper").model.name, "en").blocks) == 6


@pytest.mark.parametrize("registry", all_registries(), ids=lambda one: one.kind)
def test_the_page_names_the_group_of_every_registry(registry: Registry) -> None:
    assert f"`{registry.group}`" in PAGE.read_text(encoding="utf-8")
