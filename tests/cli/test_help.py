"""Every command's help, walked: it says what each parameter is, and fits a terminal of 80 columns."""

from collections.abc import Iterator

import click
import pytest
import typer
from typer.testing import CliRunner

from cli.lazy_commands import LazyCommand
from cli.main import COMMANDS, app
from recipes import checkout

COMPLETION = ("install_completion", "show_completion")


def commands() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """The words of each command, and the command."""
    yield (), typer.main.get_command(app)
    for name, place in COMMANDS.items():
        yield from below((name,), place.command(name))


def below(words: tuple[str, ...], command: click.Command) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield words, command
    if isinstance(command, click.Group):
        for name, one in command.commands.items():
            yield from below((*words, name), one)


@pytest.fixture(scope="module")
def tree() -> list[tuple[tuple[str, ...], click.Command]]:
    return list(commands())


def test_every_parameter_says_what_it_is(tree) -> None:
    silent = [
        (*words, one.name)
        for words, command in tree
        for one in command.params
        if not getattr(one, "help", None)
    ]
    assert len(tree) > 40 and not silent


def test_nothing_is_cut_off_at_80_columns_and_no_help_names_a_path_of_this_machine(tree, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for words, command in tree:
        shown = CliRunner().invoke(app, [*words, "--help"], terminal_width=80).output
        assert "…" not in shown and str(checkout()) not in shown, words
        assert max(map(len, shown.splitlines())) <= 80, words
        for one in command.params:
            if isinstance(one, click.Argument) and not getattr(one, "hidden", False):
                assert (one.help or "").split()[0] in shown, (words, one.name)


def test_one_word_has_one_meaning_in_all_commands(tree) -> None:
    """A short option stands for the same long one everywhere."""
    meanings: dict[str, set[str]] = {}
    for _, command in tree:
        for one in command.params:
            for short in (name for name in one.opts if len(name) == 2 and name.startswith("-")):
                meanings.setdefault(short, set()).add(max(one.opts, key=len))
    assert not {short: longs for short, longs in meanings.items() if len(longs) > 1}


def test_completion_is_that_of_the_whole_command(tree) -> None:
    offered = {words for words, command in tree for one in command.params if one.name in COMPLETION}
    assert offered == {()}


def test_the_help_of_an_argument_is_kept_in_groups_too() -> None:
    found = LazyCommand("cli.model.command:app", "").command("model")
    assert isinstance(found, click.Group)
    assert [one.help for one in found.commands["get"].params if isinstance(one, click.Argument)] == [
        "Its name in the store and in recipes."
    ]
