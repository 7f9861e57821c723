import math

import pytest
import torch

from base.registries import MODEL_PRESETS, SERVER_OPTIMISERS
from cli.composing import default_config, read_recipe
from optim import LAMB
from privacy import LayerLayout
from recipes import ConfigError, RunConfig, checkout
from server.factory import make_bounds, make_extrapolated, make_plan, make_server_step, starting_model
from speech.errors import CheckpointMismatch
from speech.model.checkpoint import load_model, save_model
from speech.model.ctc_transformer import build_model
from strategies import bind
from tests.paper_models import date_back, small_paper


def config(**changes):
    return RunConfig.from_flat({**default_config(), **changes})


def test_the_plan_is_for_the_population_that_is_there():
    plan = make_plan(config(), population=96)
    assert plan.population == 96
    assert plan.sampling_rate == plan.cohort / 96


def test_a_cohort_beyond_the_population_is_refused_with_both_numbers():
    with pytest.raises(ConfigError, match=r"training.cohort = 50: the nodes hold only 7 speakers"):
        make_plan(config(**{"training.cohort": 50.0}), population=7)


def test_a_recipe_for_another_population_is_refused_with_both_numbers():
    made_for = config(**{"privacy.population": 100})
    assert make_plan(made_for, population=100).population == 100
    for held in (99, 101):
        with pytest.raises(ConfigError, match=rf"privacy.population = 100: the nodes hold {held} speakers"):
            make_plan(made_for, population=held)


def test_an_extrapolation_beyond_what_is_accounted_for_is_refused_by_name():
    small = config(**{"training.cohort": 4.0, "privacy.noise-multiplier": 3.0})
    plan = make_plan(small, population=40)
    assert make_extrapolated(small, plan).noise_multiplier == pytest.approx(3.0 / 4 * 1024)
    far = config(**{"privacy.extrapolate-population": 69_506_000, "privacy.extrapolate-cohort": 204_800.0})
    with pytest.raises(ConfigError, match=r"privacy.extrapolate-cohort = 204800: .*noise_multiplier=153600"):
        make_extrapolated(far, plan)


@pytest.mark.parametrize(
    ("name", "pld", "rdp"), [("smallest-epsilon", 5.17, 6.77), ("whisper-private", 6.23, 7.76)]
)
def test_these_recipes_have_a_true_epsilon_below_8_by_both_accountants(name, pld, rdp):
    recipe = config(**read_recipe(checkout() / "recipes" / "run" / f"{name}.toml"))
    population = recipe.privacy.population
    assert recipe.corpus.path.startswith(f"{population}x")
    assert recipe.privacy.delta <= population**-1.1
    spent = make_plan(recipe, population).epsilon()
    assert spent.pld == pytest.approx(pld, abs=0.01)
    assert spent.rdp == pytest.approx(rdp, abs=0.01)


def test_a_target_epsilon_is_met_and_becomes_the_budget():
    plan = make_plan(
        config(**{"privacy.noise-multiplier": 0.0, "privacy.target-epsilon": 5.0}), population=1000
    )
    assert plan.epsilon().value <= 5.0 == plan.epsilon_budget
    assert plan.noise_multiplier > 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"privacy.noise-multiplier": 5e-5}, r"privacy.noise-multiplier = 5e-05: .*\[0.0001, 100000\]"),
        (
            {"privacy.noise-multiplier": 0.0, "privacy.target-epsilon": 1e-3},
            r"privacy.target-epsilon = 0.001: .*No noise multiplier",
        ),
        ({"privacy.delta": 1 / 96}, r"privacy.delta = 0.0104167: .*below 1 / 96, .*0.007"),
    ],
)
def test_a_guarantee_that_cannot_be_or_is_none_is_refused_by_name(settings, said):
    with pytest.raises(ConfigError, match=said):
        make_plan(config(**settings), population=96)


def test_delta_says_nothing_where_there_is_no_privacy():
    assert not make_plan(config(**{"privacy.noise-multiplier": 0.0, "privacy.delta": 0.5}), 96).is_private


def test_a_clip_bound_that_the_grid_cannot_have_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"privacy.clip-bound = 1e-31: "):
        make_bounds(config(**{"privacy.clip-bound": 1e-31}).privacy, LayerLayout.of({"a": (4,)}))


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(
        ConfigError, match=r"model.name = 'huge': unknown model preset 'huge'; known are .*'tiny'"
    ):
        starting_model(config(**{"model.name": "huge"}).model, "en")


def test_a_seed_of_another_model_is_refused(tmp_path):
    with pytest.raises(CheckpointMismatch, match="a model of preset 'tiny', small is needed"):
        starting_model(config(**{"model.name": "small"}).model, "en")
    with pytest.raises(CheckpointMismatch, match=r"nowhere.safetensors"):
        starting_model(config(**{"model.seed": str(tmp_path / "nowhere.safetensors")}).model, "en")


def test_a_seed_that_writes_another_language_is_refused(tmp_path):
    german = tmp_path / "german.safetensors"
    save_model(german, build_model("tiny", "de"), "tiny")
    section = config(**{"model.seed": str(german)}).model
    assert starting_model(section, "de").config.num_outputs == 34
    with pytest.raises(
        CheckpointMismatch, match=r"german.safetensors: a model of language 'de', and the corpus is in 'en'"
    ):
        starting_model(section, "en")
    random = config(**{"model.seed": "random"}).model
    assert starting_model(random, "fr").config.language == "fr"


def test_a_seed_of_earlier_features_starts_with_those_of_now_as_on_every_node(tmp_path):
    file = tmp_path / "seed.safetensors"
    with small_paper():
        save_model(file, build_model("paper"), "paper")
        date_back(file)
        section = config(**{"model.name": "paper", "model.seed": str(file)}).model
        assert starting_model(section, "en").front_end == MODEL_PRESETS["paper"].features
        assert load_model(file).features != MODEL_PRESETS["paper"].features


@pytest.mark.parametrize("rule", ["global", "uniform", "dim", "power"])
def test_bounds_cover_model_and_statistics_and_add_up_to_the_clip_bound(rule):
    layout, _ = bind(starting_model(config(**{"model.seed": "random"}).model, "en"))
    bounds, quantiser = make_bounds(config(**{"privacy.clip-rule": rule}).privacy, layout)
    assert bounds.model_size == layout.size
    assert bounds.total == pytest.approx(config().privacy.clip_bound)
    assert quantiser.step == pytest.approx(bounds.total / 2**20)


def test_the_exponent_of_the_power_rule_is_the_recipes():
    layout = LayerLayout.of({"a": (4,), "b": (64,)})
    bounds, _ = make_bounds(
        config(**{"privacy.clip-rule": "power", "privacy.clip-exponent": 0.5}).privacy, layout
    )
    assert bounds.bounds[1] / bounds.bounds[0] == pytest.approx(4.0)


def test_the_clip_groups_of_the_recipe_split_the_bound_that_statistics_leave():
    privacy = config(**{"privacy.clip-rule": "global", "privacy.clip-groups": "front*=0.05,*=0.95"}).privacy
    layout, _ = bind(starting_model(config(**{"model.seed": "random"}).model, "en"), privacy.groups)
    bounds, _ = make_bounds(privacy, layout)
    of_model = [share**0.5 * math.sqrt(1 - 0.1**2) * privacy.clip_bound for share in (0.05, 0.95)]
    assert bounds.bounds[:2] == pytest.approx(of_model)
    assert bounds.total == pytest.approx(privacy.clip_bound, rel=1e-9)


@pytest.mark.parametrize("name", sorted(SERVER_OPTIMISERS))
def test_every_optimiser_can_be_made_from_a_recipe(name):
    layout = LayerLayout.of({"a": (3,)})
    optimiser, _ = make_server_step(config(**{"server.optimiser": name}).server, layout)
    vector = torch.ones(3)
    optimiser.step_(vector, torch.ones(3), 0.1)
    assert (vector < 1).all()


def test_the_recipes_settings_reach_optimiser_and_schedule():
    changes = {
        "optimiser": "lamb",
        "trust-ratio-cap": 3.0,
        "beta2": 0.5,
        "schedule": "step",
        "decay-factor": 0.25,
    }
    section = config(**{f"server.{key}": value for key, value in changes.items()}).server
    layout = LayerLayout.of({"a": (3,)})
    optimiser, schedule = make_server_step(section, layout)
    assert optimiser == LAMB(layout=layout, trust_ratio_cap=3.0, beta2=0.5, epsilon=section.epsilon)
    assert schedule(1, 9) == 0.25
