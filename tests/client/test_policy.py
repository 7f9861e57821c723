"""A node's own limits and its own count: what a server may ask for, and what it gets told instead."""

import math
import sqlite3
import stat
from dataclasses import replace

import pytest

from cli.composing import default_config
from client.policy.limits import NO_LIMITS, NodePolicy
from client.policy.visits import FILE, VisitCount
from client.share import Share
from privacy import PrivacyPlan
from recipes import ConfigError, RunConfig
from strategies.declared import Declared

DECLARED = Declared(population=1000, cohort=20.0, rounds=50, noise_multiplier=0.6, epsilon=5.0, delta=1e-6)


def policy(people=True, **settings):
    return NodePolicy.of({name.replace("_", "-"): value for name, value in settings.items()}, people=people)


def config(**settings):
    given = {name.replace("__", ".").replace("_", "-"): value for name, value in settings.items()}
    return RunConfig.from_flat({**default_config(), **given})


def test_an_ordinary_recipe_passes_the_limits_of_a_node_that_names_none():
    policy().require_recipe(config(), "train")
    policy().require_plan(DECLARED)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"local__steps": 10**12, "local__epochs": 0}, ("local.steps = 1000000000000", "most-steps = 1000")),
        ({"local__epochs": 5000}, ("local.epochs = 5000", "most-steps = 1000")),
        ({"local__most_seconds": 1e9}, ("local.most-seconds", "most-seconds")),
        ({"local__processor_seconds": 1e9}, ("local.processor-seconds", "most-processor-seconds")),
        ({"local__memory_megabytes": 10**6}, ("local.memory-megabytes", "most-memory-megabytes")),
        ({"training__rounds": 10**6}, ("training.rounds = 1000000", "most-rounds = 2000")),
        ({"model__preset": "paper-wide", "model__seed": "random"}, ("model.preset = paper-wide", "models")),
    ],
)
def test_a_recipe_beyond_a_limit_is_refused_with_both_names(setting, words):
    with pytest.raises(ConfigError) as refused:
        policy().require_recipe(config(**setting), "train")
    assert all(word in str(refused.value) for word in words)
    policy(limits="none").require_recipe(config(**setting), "train")


def test_a_server_does_not_choose_another_split_of_a_node():
    with pytest.raises(ConfigError, match="splits = train"):
        policy().require_recipe(config(), "test")
    policy(splits="train, test").require_recipe(config(), "test")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"noise_multiplier": 0.0}, "least-noise-multiplier"),
        ({"noise_multiplier": math.nan}, "least-noise-multiplier"),
        ({"epsilon": math.inf}, "most-epsilon"),
        ({"epsilon": math.nan}, "most-epsilon"),
        ({"epsilon": 10.1}, "most-epsilon"),
        ({"delta": 0.1}, "most-delta"),
        ({"rounds": 10**6}, "most-rounds"),
    ],
)
def test_a_plan_beyond_a_limit_is_refused(change, name):
    with pytest.raises(ConfigError, match=name):
        policy().require_plan(replace(DECLARED, **change))


def test_a_server_that_declares_nothing_gets_nothing():
    with pytest.raises(ConfigError, match="declares no plan"):
        policy().require_plan(None)
    NO_LIMITS.require_plan(None)


def test_what_is_declared_is_what_the_plan_promises():
    plan = PrivacyPlan(population=1000, cohort=20.0, rounds=50, noise_multiplier=0.6, delta=1e-6)
    declared = Declared.of(plan)
    assert declared.epsilon == plan.epsilon().value
    assert Declared.of(replace(plan, noise_multiplier=0.0)).epsilon == math.inf


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"most_epsilom": 4.0}, "there is no such setting"),
        ({"most_epsilon": "four"}, 'a number from 0 on, or "inf"'),
        ({"most_epsilon": -1.0}, "a number from 0 on"),
        ({"most_rounds": 1.5}, "a whole number"),
        ({"most_rounds": True}, "a whole number"),
        ({"models": "tiny,large"}, "large is no model"),
        ({"models": 1}, "text"),
        ({"limits": "off"}, "'safe' (the default) or 'none'"),
    ],
)
def test_a_limit_that_would_be_none_is_refused(settings, words):
    with pytest.raises(ConfigError) as refused:
        policy(**settings)
    assert words in str(refused.value)


def test_a_limit_may_be_infinite_and_holds_for_a_demo_too():
    assert policy(most_epsilon="inf").most_epsilon == math.inf
    assert policy(people=False) == NO_LIMITS
    assert policy(people=False, most_epsilon=4).most_epsilon == 4
    assert policy(limits="none", most_rounds=5) == replace(NO_LIMITS, most_rounds=5)


def test_a_node_with_its_own_speech_opens_no_seed_that_a_server_names():
    corpus = config().corpus
    own = Share.of(corpus, {"corpus-path": "/data/manifest.jsonl"})
    demo = Share.of(corpus, {"partition-id": 0, "num-partitions": 2})
    assert own.of_people
    assert not demo.of_people
    with pytest.raises(ConfigError, match="opens no path that a server names"):
        own.seed("/etc/shadow")
    assert own.seed("embedded") == "embedded"
    assert demo.seed("/models/a.safetensors") == "/models/a.safetensors"


# --- The count -------------------------------------------------------------------------------------


def test_a_speaker_is_counted_over_all_runs_and_alone(tmp_path):
    count = VisitCount(tmp_path / "state")
    for number in range(3):
        assert count.add(["ann", "bob"], 3, run=f"run-{number}", round_number=1) == set()
    assert count.add(["ann", "cid"], 3, run="run-9", round_number=1) == {"ann"}
    assert [count.of(name) for name in ("ann", "bob", "cid", "dan")] == [3, 3, 1, 0]


def test_the_count_outlives_the_process_and_is_the_owners_alone(tmp_path):
    VisitCount(tmp_path / "state").add(["ann"], 9, run="a", round_number=1, plan=DECLARED)
    assert VisitCount(tmp_path / "state").of("ann") == 1
    assert stat.S_IMODE((tmp_path / "state" / FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    with sqlite3.connect(tmp_path / "state" / FILE) as database:
        (run, plan), *_ = database.execute("SELECT * FROM declared").fetchall()
    assert run == "a"
    assert '"epsilon": 5.0' in plan


def test_a_count_that_cannot_be_kept_trains_nobody(tmp_path):
    (tmp_path / "state").write_text("a file where the folder should be")
    with pytest.raises(ConfigError, match="count of its speakers' visits"):
        VisitCount(tmp_path / "state").add(["ann"], 9, run="a", round_number=1)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / FILE).write_text("no database" * 100)
    with pytest.raises(ConfigError, match="count of its speakers' visits"):
        VisitCount(tmp_path / "other").add(["ann"], 9, run="a", round_number=1)
