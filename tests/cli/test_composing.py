"""Settings from a command line are all kept, or refused."""

import pytest

from cli.composing import default_config, read_settings, with_absolute_paths
from recipes import ConfigError, RunConfig


def test_several_settings_of_one_section_are_all_kept():
    given = ["training.min-nodes=3", 'training.rounds=8 run.folder="a b"', "training.rounds=9"]
    assert read_settings(given) == {"training.min-nodes": 3, "training.rounds": 9, "run.folder": "a b"}


def test_settings_may_be_written_with_spaces_as_recipes_are():
    given = ["training.rounds = 10 privacy.epsilon-budget = 8.0", " run.folder= 'a = b' corpus.path =\"\""]
    assert read_settings(given) == {
        "training.rounds": 10,
        "privacy.epsilon-budget": 8.0,
        "run.folder": "a = b",
        "corpus.path": "",
    }


def test_text_needs_no_quotes_of_its_own():
    given = ["model.name=tiny corpus.path=/data/m.jsonl", "run.folder=2026-11-28", "run.resume=17"]
    assert read_settings(given) == {
        "model.name": "tiny",
        "corpus.path": "/data/m.jsonl",
        "run.folder": "2026-11-28",
        "run.resume": "17",
    }
    with pytest.raises(ConfigError, match=r"training\.rounds = 'ten': input should be a valid integer"):
        RunConfig.from_flat({**default_config(), **read_settings(["training.rounds=ten"])})


def test_relative_paths_count_from_the_working_directory_and_an_app_refuses_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {
        "corpus.kind": "manifest",
        "corpus.path": "m.jsonl",
        "model.seed": "random",
        "run.folder": "here",
    }
    with pytest.raises(ConfigError, match=r"corpus.path = 'm.jsonl': the path is relative"):
        RunConfig.from_flat({**default_config(), **given})
    absolute = with_absolute_paths(given)
    assert absolute["corpus.path"] == str(tmp_path / "m.jsonl")
    assert absolute["run.folder"] == str(tmp_path / "here")
    assert absolute["model.seed"] == "random"
    RunConfig.from_flat({**default_config(), **absolute})


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("training.rounds=10 garbage", "'garbage' cannot be read"),
        ("training.rounds=10 garbage privacy.delta=1e-6", "'garbage privacy.delta=1e-6' cannot be read"),
        ("=3", "'=3' cannot be read"),
        ("training.rounds", "write it as 'section.key=value'"),
        ("training.rounds=", "'training.rounds=' cannot be read"),
        ("training.rounds=10#20", "'training.rounds=10#20' cannot be read"),
        ("", "'' cannot be read"),
        ('run.folder="a b', 'run.folder="a: the quotes do not close'),
    ],
)
def test_what_cannot_be_read_is_named_and_never_dropped(setting, named):
    with pytest.raises(ConfigError, match="setting ") as refused:
        read_settings([setting])
    assert named in str(refused.value)
