"""Mutated recipes: a configuration that can run, or one error that names the keys."""

import tomllib
from pathlib import Path
from typing import Any

import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from cli.composing import default_config, flatten, read_recipe, read_settings
from recipes import ConfigError, RunConfig
from tests.fuzz import mutations
from tests.fuzz.counts import fuzz, tally

RECIPES = sorted((Path(__file__).resolve().parents[2] / "recipes").glob("*/*.toml"))
MOST_TOLD = 1_000_000  # a renamed section names each of its keys


def nested() -> dict[str, Any]:
    """The default run configuration in its sections."""
    sections: dict[str, Any] = {}
    for key, value in default_config().items():
        section, _, name = key.partition(".")
        sections.setdefault(section, {})[name] = value
    return sections


DEFAULT, FLAT = nested(), default_config()
WRITTEN = tomli_w.dumps(DEFAULT).encode()


def tables() -> st.SearchStrategy[dict[str, Any]]:
    """Recipes that are changed as tables."""
    return mutations.json_mutations(DEFAULT, most=3).filter(lambda changed: isinstance(changed, dict))


def files() -> st.SearchStrategy[bytes]:
    """Recipes that are changed as files."""
    shipped = [WRITTEN, *(file.read_bytes() for file in RECIPES)]
    deep = st.integers(1, 100_000).map(lambda depth: b"a = " + b"[" * depth)
    large = st.sampled_from([b"1" * 400, b"1" * 5000, b"1e400", b"-9223372036854775809"])
    number = large.map(lambda digits: b"[local]\nlearning-rate = " + digits)
    mutated = st.sampled_from(shipped).flatmap(mutations.byte_mutations)
    return st.one_of(mutated, mutated, mutated, deep, number)


def test_mutated_recipes_run_or_are_refused_by_name(tmp_path: Path) -> None:
    counts = tally("recipes")
    file = tmp_path / "recipe.toml"

    def outcome(made: Any) -> None:
        counts["recipes"] += 1
        try:
            config = made()
        except ConfigError as error:
            assert 0 < len(str(error)) < MOST_TOLD
            return
        counts["taken"] += 1
        assert RunConfig.from_flat(config.to_flat()) == config

    @fuzz(short=150, long=500)
    @given(tables())
    def one_table(table):
        outcome(lambda: RunConfig.from_flat(flatten(table)))

    @fuzz(short=150, long=500)
    @given(files())
    def one_file(content):
        file.write_bytes(content)
        outcome(lambda: RunConfig.from_flat({**FLAT, **read_recipe(file)}))

    @fuzz(short=100, long=300)
    @given(st.sampled_from(sorted(FLAT)), mutations.texts())
    def one_setting(key, value):
        outcome(lambda: RunConfig.from_flat({**FLAT, **read_settings([f"{key}={value}"])}))

    one_table()
    one_file()
    one_setting()
    assert tomllib.loads(WRITTEN.decode()) == DEFAULT
