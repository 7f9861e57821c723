"""Every row of the paper is a recipe that can be run, and says what the paper prints for it."""

import tomllib
from collections import Counter

import pytest
from typer.testing import CliRunner

from base.registries import MODEL_PRESETS
from cli.composing import default_config, flatten
from cli.main import app
from cli.paper.rows import base_recipe, find_row, paper_rows
from cli.paper.show import as_recipe
from privacy import LayerLayout
from recipes import ConfigError, RunConfig
from server.factory import make_server_step

ROWS = paper_rows()
DEFAULT = default_config()
SPLITS = {"dev", "test", "dev-clean", "test-clean", "dev-other", "test-other"}


def murmur(*arguments: str):
    return CliRunner().invoke(app, ["paper", *arguments])


def config_of(recipe) -> RunConfig:
    seed = {} if recipe["model.seed"] == "random" else {"model.seed": "/seeds/model.safetensors"}
    return RunConfig.from_flat({**DEFAULT, **recipe, "corpus.path": "/corpora/speech", **seed})


def test_every_row_is_a_valid_recipe_of_the_papers_model():
    for row in ROWS:
        config = config_of(row.recipe)
        assert config.model.name.startswith("paper") and config.model.name in MODEL_PRESETS
        assert config.privacy.adds_noise == (row.sigma > 0)
        assert config.training.cohort <= row.speakers
        make_server_step(config.server, LayerLayout.of({"weight": (2,)}))


def test_every_table_has_rows_and_no_two_have_one_name():
    tables = Counter(int(row.name.split("/")[0]) for row in ROWS)
    assert set(tables) == {1, *range(3, 22)}
    assert len({row.name for row in ROWS}) == len(ROWS) == 214


def test_error_rates_are_rates_of_splits_and_what_is_not_printed_is_said_to_be_unknown():
    for row in ROWS:
        for rates in (row.wer, row.at_seed, row.central):
            assert set(rates) <= SPLITS
            assert all(rate is None or 2 < rate <= 100 for rate in rates.values())
        assert row.unknown or None not in row.wer.values()


def test_training_improves_on_its_seed_wherever_both_are_printed():
    """A figure in the wrong place would hardly pass."""
    for row in ROWS:
        for split, rate in row.wer.items():
            assert rate is None or rate <= row.at_seed.get(split, 100)


@pytest.mark.parametrize(
    ("name", "changes", "wer"),
    [
        ("1/dim/3", {"privacy.noise-multiplier": 0.003072, "privacy.clip-rule": "dim", "local.steps": 10},
         {"dev": 17.1, "test": 20.4}),
        ("3/ls-100/16", {"server.learning-rate": 0.003, "local.batch-seconds": 360.0},
         {"dev-clean": 3.1, "test-clean": 3.2, "dev-other": 8.5, "test-other": 8.3}),
        ("4/none/256", {"model.seed": "random", "server.learning-rate": 0.006, "local.learning-rate": 0.4},
         {"dev": 21.3, "test": 25.7}),
        ("4/ls-100/8", {}, {"dev": 24.5, "test": 28.8}),
        ("18/fr-dim/10", {"corpus.language": "fr", "privacy.noise-multiplier": 0.01024},
         {"dev": 15.6, "test": 17.9}),
        ("21/uniform-10/paper-deep", {"model.name": "paper-deep", "local.layer-drop": 0.1},
         {"dev": 22.4, "test": 26.4}),
    ],
)  # fmt: skip
def test_a_row_is_what_the_paper_says(name, changes, wer):
    row = find_row(name)
    assert row.wer == wer
    assert {key: row.recipe[key] for key in changes} == changes
    assert (not changes) == (row.recipe == base_recipe())


def test_noise_is_that_of_the_epsilon_table_and_a_run_shows_the_papers_extrapolation():
    for row in ROWS:
        for one in row.epsilons[:1]:
            assert (one.cohort, one.population) == (row.recipe["training.cohort"], row.speakers)
            assert one.noise_multiplier == row.recipe["privacy.noise-multiplier"]
    shown = {sigma: find_row(f"1/dim/{sigma}").recipe for sigma in (20, 10, 3)}
    populations = {sigma: recipe["privacy.extrapolate-population"] for sigma, recipe in shown.items()}
    assert populations == {20: 3_475_300, 10: 6_950_600, 3: 69_506_000}


def test_what_is_shown_is_a_recipe_under_comments():
    done = murmur("show", "17/uniform-small/0.6")
    assert config_of(flatten(tomllib.loads(done.stdout))) == config_of(
        find_row("17/uniform-small/0.6").recipe
    )
    assert "# printed WER: dev 16.1 %, test 19.3 %" in done.stdout
    assert "# unknown: sigma_DP: 0.625 millionths are printed" in done.stdout
    assert "#   4e+09 with 1,024 of 34,753 speakers\n" in done.stdout
    assert "#   privacy.noise-multiplier = 0.0006144" in done.stdout


def test_a_typing_error_a_missing_epsilon_and_a_missing_setting_are_said():
    assert "#   1.3 (a typing error for 13) with 51,200 of" in as_recipe(find_row("1/dim/20"))
    assert "printed epsilon: unknown" in as_recipe(find_row("19/cv-en-10-dim/30"))
    assert "needs: a cohort of exactly one speaker" in as_recipe(find_row("7/post/paper-post-norm"))


def test_the_list_has_a_line_for_every_row_with_its_marks():
    lines = murmur("list").stdout.splitlines()
    assert [line.split()[0] for line in lines[1 : len(ROWS) + 1]] == [row.name for row in ROWS]
    assert next(line for line in lines if line.startswith("7/pre")).split()[5] == "?!"
    assert lines[1].split()[:9] == [
        "1/global/10",
        "cv-en",
        "ls-100",
        "1024",
        "10e-6",
        "30.7",
        "/",
        "35.2",
        "private,",
    ]
    assert len(murmur("list", "10").stdout.splitlines()) == 1 + 20 + 3


def test_a_row_or_table_that_is_not_there_is_refused_with_what_is():
    assert "did you mean 4/ls-100/8, 4/ls-100/16" in murmur("show", "4/ls-100").stderr
    assert murmur("list", "2").exit_code == murmur("show", "40/x").exit_code == 2
    with pytest.raises(ConfigError, match="`murmur paper list` has all"):
        find_row("nothing")
