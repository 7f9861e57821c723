"""Settings from a command line are all kept."""

from cli.composing import read_settings


def test_several_settings_of_one_section_are_all_kept():
    given = ["training.min-nodes=3", 'training.rounds=8 run.folder="a b"', "training.rounds=9"]
    assert read_settings(given) == {"training.min-nodes": 3, "training.rounds": 9, "run.folder": "a b"}
