"""A node's own limits and its own counts: what a server may ask for, and how it is refused."""

import math
import multiprocessing
import sqlite3
import stat
from dataclasses import replace

import pytest
from flwr.app import RecordDict

from cli.composing import default_config
from client.node_speech import NodeSpeech
from client.policy.limits import NO_LIMITS, NodePolicy
from client.policy.training_counts import FILE, TrainingCounts
from privacy import ClipBounds, PrivacyPlan, Quantiser
from privacy.released_metrics import STATISTICS
from recipes import ConfigError, RunConfig
from speech.model.ctc_transformer import build_model
from strategies import bind
from tests.strategies import flower  # noqa: F401  (sets whose task this is)
from wire.declared_plan import RECORD, DeclaredPlan
from wire.messages import Task

LAYOUT, _ = bind(build_model("tiny"))
DECLARED = DeclaredPlan(
    population=1000, cohort=20.0, rounds=50, noise_multiplier=0.6, epsilon=5.0, delta=1e-6
)


def policy(real_speakers=True, **settings):
    given = {name.replace("_", "-"): value for name, value in settings.items()}
    return NodePolicy.of(given, real_speakers=real_speakers)


def config(**settings):
    given = {name.replace("__", ".").replace("_", "-"): value for name, value in settings.items()}
    return RunConfig.from_flat({**default_config(), **given})


def settings_of(declared, **changes):
    """A run whose settings are those that the server declares, but for the changes."""
    given = {
        "training__rounds": declared.rounds,
        "training__cohort": declared.cohort,
        "privacy__delta": declared.delta,
        "privacy__noise_multiplier": declared.noise_multiplier,
    }
    return config(**{**given, **changes})


def test_an_ordinary_recipe_passes_the_limits_of_a_node_that_names_none():
    policy().require_recipe(config(), "train")
    policy().require_plan(DECLARED, settings_of(DECLARED))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"privacy__noise_multiplier": 0.0}, "privacy.noise-multiplier"),
        ({"privacy__noise_multiplier": 0.0, "local__algorithm": "scaffold"}, "privacy.noise-multiplier"),
        ({"privacy__noise_source": "seeded-not-private"}, "privacy.noise-multiplier"),
        ({"training__rounds": 500}, "training.rounds"),
        ({"training__cohort": 1.0}, "training.cohort"),
        ({"privacy__delta": 1e-9}, "privacy.delta"),
    ],
)
def test_a_plan_that_is_not_the_runs_is_refused(change, name):
    """SCAFFOLD sends un-noised gradients; a server that declares noise must not get them."""
    with pytest.raises(ConfigError, match=f"{name}: the server declares"):
        policy().require_plan(DECLARED, settings_of(DECLARED, **change))


def test_noise_without_an_epsilon_or_an_epsilon_without_noise_cannot_be():
    for change in ({"noise_multiplier": 0.0}, {"epsilon": math.inf}):
        wrong = replace(DECLARED, **change)
        with pytest.raises(ConfigError, match="which is impossible"):
            policy(limits="none", most_rounds=60).require_plan(wrong, settings_of(wrong))


def test_noise_of_a_known_seed_is_none():
    """Declared as it is, nodes with recordings refuse it and demonstrations take it."""
    plan = PrivacyPlan(
        population=1000, cohort=20.0, rounds=50, noise_multiplier=0.6, delta=1e-6,
        noise_source="seeded-not-private",
    )  # fmt: skip
    settings = settings_of(DECLARED, privacy__noise_source=plan.noise_source)
    policy(real_speakers=False).require_plan(DeclaredPlan.of(plan), settings)
    with pytest.raises(ConfigError, match="least-noise-multiplier"):
        policy().require_plan(DeclaredPlan.of(plan), settings)


@pytest.mark.parametrize(
    "change",
    [
        {"rounds": -7},
        {"population": 0},
        {"cohort": math.nan},
        {"noise_multiplier": math.inf},
        {"noise_multiplier": math.nan},
        {"epsilon": -3.0},
        {"epsilon": math.nan},
        {"delta": -1.0},
        {"delta": 1.0},
    ],
)
def test_a_plan_of_impossible_numbers_cannot_be_read(change):
    content = RecordDict({RECORD: replace(DECLARED, **change).to_record()})
    with pytest.raises(ValueError, match="the server's plan cannot be"):
        DeclaredPlan.in_content(content)


@pytest.mark.parametrize("number", [0, 51, 10**6])
def test_a_round_beyond_the_plan_is_refused(number):
    bounds = ClipBounds.of("uniform", 0.5, LAYOUT, statistics=len(STATISTICS))
    last = Task(
        round_number=50,
        nonce="",
        layout="",
        speakers=(),
        bounds=bounds,
        quantiser=Quantiser.of(bounds),
        plan=DECLARED,
    )
    policy().require_task(last, settings_of(DECLARED))
    with pytest.raises(ConfigError, match="not one of the 50"):
        policy().require_task(replace(last, round_number=number), settings_of(DECLARED))


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"corpus__max_seconds": 1e6}, ("corpus.max-seconds", "most-seconds")),
        ({"local__steps": 10**12, "local__epochs": 0}, ("local.steps = 1000000000000", "most-steps = 1000")),
        ({"local__epochs": 5000}, ("local.epochs = 5000", "most-steps = 1000")),
        ({"local__most_seconds": 1e9}, ("local.most-seconds", "most-seconds")),
        ({"local__processor_seconds": 1e9}, ("local.processor-seconds", "most-processor-seconds")),
        ({"local__memory_megabytes": 10**6}, ("local.memory-megabytes", "most-memory-megabytes")),
        ({"training__rounds": 10**6}, ("training.rounds = 1000000", "most-rounds = 2000")),
        ({"model__name": "paper-wide", "model__seed": "random"}, ("model.name = paper-wide", "models")),
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
        ({"noise_multiplier": 0.0, "epsilon": math.inf}, "least-noise-multiplier"),
        ({"noise_multiplier": 0.29}, "least-noise-multiplier"),
        ({"epsilon": 10.1}, "most-epsilon"),
        ({"delta": 1e-4}, "most-delta"),
        ({"rounds": 10**6}, "most-rounds"),
    ],
)
def test_a_plan_beyond_a_limit_is_refused(change, name):
    with pytest.raises(ConfigError, match=name):
        beyond = replace(DECLARED, **change)
        policy().require_plan(beyond, settings_of(beyond))


def test_a_server_that_declares_nothing_gets_nothing():
    with pytest.raises(ConfigError, match="declares no plan"):
        policy().require_plan(None, config())
    NO_LIMITS.require_plan(None, config())


def test_what_is_declared_is_what_the_plan_promises():
    plan = PrivacyPlan(population=1000, cohort=20.0, rounds=50, noise_multiplier=0.6, delta=1e-6)
    declared = DeclaredPlan.of(plan)
    assert declared.epsilon == plan.epsilon().value
    assert DeclaredPlan.of(replace(plan, noise_multiplier=0.0)).epsilon == math.inf


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"most_epsilom": 4.0}, "there is no such setting"),
        ({"most_epsilon": "four"}, 'a number from 0 on, or "inf"'),
        ({"most_epsilon": -1.0}, "a number from 0 on"),
        ({"most_rounds": 1.5}, "a whole number"),
        ({"most_rounds": True}, "a whole number"),
        ({"models": "tiny,large"}, "'tiny,large': one of them is no model"),
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
    assert policy(real_speakers=False) == NO_LIMITS
    assert policy(real_speakers=False, most_epsilon=4).most_epsilon == 4
    assert policy(limits="none", most_rounds=5) == replace(NO_LIMITS, most_rounds=5)


def test_a_node_with_its_own_speech_opens_no_seed_that_a_server_names():
    corpus = config().corpus
    own = NodeSpeech.of(corpus, {"corpus-path": "/data/manifest.jsonl"})
    demo = NodeSpeech.of(corpus, {"partition-id": 0, "num-partitions": 2})
    assert own.has_real_speakers
    assert not demo.has_real_speakers
    with pytest.raises(ConfigError, match="opens no path that a server names"):
        own.seed("/etc/shadow")
    assert own.seed("embedded") == "embedded"
    assert demo.seed("/models/a.safetensors") == "/models/a.safetensors"


# --- The count -------------------------------------------------------------------------------------


def test_a_speaker_is_counted_over_all_runs_and_alone(tmp_path):
    count = TrainingCounts(tmp_path / "state")
    for number in range(3):
        assert count.add(["ann", "bob"], 3, run=f"run-{number}", round_number=1) == set()
    assert count.add(["ann", "cid"], 3, run="run-9", round_number=1) == {"ann"}
    assert [count.of(name) for name in ("ann", "bob", "cid", "dan")] == [3, 3, 1, 0]


def add_many(folder, run, answers):
    for number in range(10):
        answers.send(len(TrainingCounts(folder).add(["ann"], 25, run=f"{run}-{number}", round_number=1)))


def test_processes_that_race_for_the_count_train_nobody_too_often(tmp_path):
    """Two runs at once, two SuperNodes on one folder: 40 are asked for, 25 allowed."""
    fork = multiprocessing.get_context("fork")
    pipes = [fork.Pipe(duplex=False) for _ in range(4)]
    racing = [
        fork.Process(target=add_many, args=(tmp_path / "state", number, answers))
        for number, (_, answers) in enumerate(pipes)
    ]
    for process in racing:
        process.start()
    assert sum(taken.recv() for taken, _ in pipes for _ in range(10)) == 15
    assert TrainingCounts(tmp_path / "state").of("ann") == 25
    for process in racing:
        process.join()


def test_the_count_outlives_the_process_and_is_the_owners_alone(tmp_path):
    TrainingCounts(tmp_path / "state").add(["ann"], 9, run="a", round_number=1, plan=DECLARED)
    assert TrainingCounts(tmp_path / "state").of("ann") == 1
    assert stat.S_IMODE((tmp_path / "state" / FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    with sqlite3.connect(tmp_path / "state" / FILE) as database:
        (run, plan), *_ = database.execute("SELECT * FROM declared").fetchall()
    assert run == "a"
    assert '"epsilon": 5.0' in plan


def test_what_a_server_names_does_not_fill_the_disk(tmp_path):
    count = TrainingCounts(tmp_path / "state")
    with pytest.raises(ConfigError, match="65 characters, at most 64"):
        count.add(["ann"], 9, run="x" * 65, round_number=1)
    count.add(["ann"], 1, run="a", round_number=1, plan=DECLARED)
    for number in range(20):
        assert count.add(["ann"], 1, run=f"run-{number}", round_number=1, plan=DECLARED) == {"ann"}
        count.add([], 1, run=f"empty-{number}", round_number=1)
    with sqlite3.connect(tmp_path / "state" / FILE) as database:
        assert database.execute("SELECT COUNT(*) FROM declared").fetchone() == (1,)
    with pytest.raises(ConfigError, match="another plan than before for run a"):
        count.add(["bob"], 1, run="a", round_number=2, plan=replace(DECLARED, epsilon=6.0))
    assert count.of("bob") == 0


def test_a_count_that_cannot_be_kept_trains_nobody(tmp_path):
    (tmp_path / "state").write_text("a file where the folder should be")
    with pytest.raises(ConfigError, match="count of its speakers' rounds"):
        TrainingCounts(tmp_path / "state").add(["ann"], 9, run="a", round_number=1)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / FILE).write_text("no database" * 100)
    with pytest.raises(ConfigError, match="count of its speakers' rounds"):
        TrainingCounts(tmp_path / "other").add(["ann"], 9, run="a", round_number=1)
