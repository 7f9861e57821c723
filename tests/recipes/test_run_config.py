import tomllib
from typing import get_args

import pytest

from base.registries import (
    CLIP_RULES,
    CORPUS_KINDS,
    MODEL_PRESETS,
    NOISE_SHAPES,
    SCHEDULES,
    SERVER_OPTIMISERS,
)
from cli.composing import default_config, flatten, with_absolute_paths
from privacy.clipping import bounds
from recipes import ConfigError, RunConfig, checkout
from recipes.privacy_section import CLIP_ACTIONS
from recipes.run_config import known_keys

DEFAULT = default_config()


def test_the_defaults_are_valid_and_name_every_key():
    config = RunConfig.from_flat(DEFAULT)
    assert set(DEFAULT) == set(known_keys())
    assert RunConfig.from_flat(config.to_flat()) == config


RUN_RECIPES = sorted((checkout() / "recipes" / "run").glob("*.toml"))


@pytest.mark.parametrize("path", RUN_RECIPES, ids=lambda path: path.stem)
def test_every_run_recipe_is_valid(path):
    recipe = flatten(tomllib.loads(path.read_text()))
    RunConfig.from_flat(with_absolute_paths({**DEFAULT, **recipe}))


FAULTS = {
    "unknown key": ({"privacy.noise-multiplyer": 1.0}, "did you mean 'privacy.noise-multiplier'"),
    "unknown section": (
        {"privaty.delta": 1e-6},
        "privaty.delta = 1e-06: no such key; did you mean 'privacy.delta'",
    ),
    "no section": ({"rounds": 3}, "rounds = 3: no such key"),
    "wrong type": ({"training.rounds": "ten"}, "training.rounds = 'ten'"),
    "bool for a number": ({"training.rounds": True}, "training.rounds = True"),
    "float for a count": ({"local.batch-size": 2.5}, "local.batch-size = 2.5"),
    "zero rounds": ({"training.rounds": 0}, "greater than or equal to 1"),
    "negative noise": ({"privacy.noise-multiplier": -1.0}, "privacy.noise-multiplier = -1.0"),
    "nan": ({"privacy.clip-bound": float("nan")}, "privacy.clip-bound = nan"),
    "delta of one": ({"privacy.delta": 1.0}, "privacy.delta = 1.0"),
    "unknown rule": (
        {"privacy.clip-rule": "median"},
        "unknown clip rule 'median'; known are 'dim', 'global', 'power', 'uniform'",
    ),
    "no pairs": (
        {"privacy.clip-groups": "encoder.*"},
        r"privacy.clip-groups = 'encoder\.\*': 'encoder\.\*' is no pair of pattern and share: write both",
    ),
    "shares of C": (
        {"privacy.clip-groups": "a=0.05,*=0.9"},
        r"privacy.clip-groups = 'a=0.05,\*=0.9': the shares sum to 0.95: they are shares of C\^2",
    ),
    "scaffold in private": (
        {"local.algorithm": "scaffold"},
        "local.algorithm = 'scaffold': refused in a private",
    ),
    "scaffold with momentum": (
        {"local.algorithm": "scaffold", "local.momentum": 0.9, "privacy.noise-multiplier": 0.0},
        "control variates are mean gradients of plain SGD",
    ),
    "fedprox without mu": ({"local.algorithm": "fedprox"}, "mu belongs to 'fedprox'"),
    "mu without fedprox": ({"local.proximal-mu": 0.1}, "mu belongs to 'fedprox'"),
    "no decay": ({"server.schedule": "step"}, "nothing would decay"),
    "unknown optimiser": (
        {"server.optimiser": "adamw"},
        "unknown server optimiser 'adamw'; known are 'adagrad', 'adam'",
    ),
    "settings that cannot be read": ({"server.optimiser-settings": "rho"}, "write numbers by name"),
    "settings that are no numbers": ({"server.optimiser-settings": "rho=[1]"}, "write numbers by name"),
    "settings with a key": ({"server.optimiser-settings": "beta1=0.5"}, "beta1 has a key of its own"),
    "manifest without path": ({"corpus.kind": "manifest"}, "needs the path of a corpus"),
    "unknown language": ({"corpus.language": "tlh"}, "corpus.language = 'tlh'"),
    "shipped seed in German": ({"corpus.language": "de"}, "the shipped seed model writes English"),
    "frozen at random": (
        {"model.trainable": "output.*", "model.seed": "random"},
        "model.trainable = 'output.*' and model.seed = 'random'",
    ),
    "digest of a preset": (
        {"model.digest": "0" * 64},
        f"model.digest = '{'0' * 64}' and model.name = 'tiny': a preset has no files that could",
    ),
    "epochs and steps": ({"local.steps": 3}, "set exactly one of them above 0"),
    "batches of two kinds": ({"local.batch-seconds": 60.0}, "local.batch-size = 5 and local.batch-seconds"),
    "z and epsilon": ({"privacy.target-epsilon": 3.0}, "one follows from the other"),
    "shape and normalise": (
        {"privacy.noise-shape": "variance-optimal", "privacy.clip-action": "normalise"},
        "each layer is held to its own bound",
    ),
    "bands that change shape": (
        {"privacy.bands": 2, "privacy.noise-shape": "variance-optimal", "privacy.adaptive-clip": True},
        "cannot change its shape",
    ),
    "bands and cap": ({"privacy.bands": 2, "privacy.cohort-cap": 40}, "set bands to 1 or the cap to 0"),
    "budget without privacy": (
        {"privacy.noise-source": "seeded-not-private", "privacy.epsilon-budget": 3.0},
        "no epsilon to keep",
    ),
    "cohort beyond population": ({"privacy.extrapolate-cohort": 1e9}, "is larger than"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_refused_with_key_value_and_remedy(name):
    change, message = FAULTS[name]
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        RunConfig.from_flat({**DEFAULT, **change})


def test_a_setting_may_be_that_of_the_preset():
    local = RunConfig.from_flat({**DEFAULT, "local.dropout": 0, "local.time-masks": 10}).local
    assert (local.dropout, local.time_masks) == (0.0, 10)
    assert (local.layer_drop, local.freq_width) == (None, None)
    assert RunConfig.from_flat(DEFAULT).to_flat() == DEFAULT


def test_scaffold_is_there_without_privacy():
    flat = {**DEFAULT, "local.algorithm": "scaffold", "privacy.noise-multiplier": 0.0}
    assert RunConfig.from_flat(flat).local.algorithm == "scaffold"
    with pytest.raises(ConfigError, match="refused in a private run"):
        RunConfig.from_flat({**flat, "privacy.target-epsilon": 5.0})


def test_all_faults_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_flat({**DEFAULT, "training.rounds": 0, "local.batch-size": -1})
    assert "training.rounds" in str(caught.value)
    assert "local.batch-size" in str(caught.value)


def test_a_missing_key_is_named():
    flat = {key: value for key, value in DEFAULT.items() if key != "privacy.delta"}
    with pytest.raises(ConfigError, match=r"privacy.delta is missing"):
        RunConfig.from_flat(flat)


def test_a_whole_number_stands_for_a_float():
    assert RunConfig.from_flat({**DEFAULT, "training.cohort": 16}).training.cohort == 16.0


def test_the_clip_actions_of_a_recipe_are_those_that_there_are():
    assert set(get_args(CLIP_ACTIONS)) == set(bounds.CLIP_ACTIONS)


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        ("corpus.kind", CORPUS_KINDS),
        ("model.name", MODEL_PRESETS),
        ("server.optimiser", SERVER_OPTIMISERS),
        ("server.schedule", SCHEDULES),
        ("privacy.clip-rule", CLIP_RULES),
        ("privacy.noise-shape", NOISE_SHAPES),
    ],
)
def test_a_recipe_takes_every_registered_name_and_lists_them_for_another(key, registry):
    names = ", ".join(map(repr, registry))
    with pytest.raises(
        ConfigError, match=f"{key} = 'strange': unknown {registry.kind} 'strange'; known are {names}"
    ):
        RunConfig.from_flat({**DEFAULT, key: "strange"})
    registry.add("strange")(object())
    try:
        RunConfig.from_flat({**DEFAULT, key: "strange", "corpus.path": "/x"})
    finally:
        registry.remove("strange")


def test_the_speakers_who_are_trained_are_not_held_out():
    with pytest.raises(ConfigError, match=r"corpus.train-split and corpus.test-split are both 'train'"):
        RunConfig.from_flat({**DEFAULT, "corpus.test-split": "train"})
