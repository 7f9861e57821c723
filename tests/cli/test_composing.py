"""Settings from a command line are all kept, or refused."""

import pytest

from cli.composing import read_settings
from recipes import ConfigError


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
        ("model.preset=tiny", "tiny is no value of model.preset; give a number"),
        ('run.folder="a b', '"a is no value of run.folder'),
    ],
)
def test_what_cannot_be_read_is_named_and_never_dropped(setting, named):
    with pytest.raises(ConfigError, match="setting ") as refused:
        read_settings([setting])
    assert named in str(refused.value)
