"""Subcommands whose modules are imported when they are called: `murmur --help` does not wait for torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from inspect import unwrap
from typing import Any

import click
import typer
from typer.core import TyperArgument, TyperGroup
from typer.utils import get_params_from_function


@dataclass(frozen=True)
class LazyCommand:
    """Where a command is, "module:name" of a function or a `typer.Typer`, and what it does, in a sentence."""

    target: str
    help: str

    def command(self, name: str) -> click.Command:
        """The command itself, imported."""
        module, _, attribute = self.target.partition(":")
        found = getattr(import_module(module), attribute)
        if not isinstance(found, typer.Typer):
            alone = typer.Typer(add_completion=False)
            alone.command(name)(found)
            found = alone
        return _with_help_of_arguments(typer.main.get_command(found))


def _with_help_of_arguments(command: click.Command) -> click.Command:
    """The command, whose arguments have their help again: click from 8.5 on drops that of this typer's."""
    for one in command.commands.values() if isinstance(command, click.Group) else ():
        _with_help_of_arguments(one)
    if command.callback is not None:
        meant = get_params_from_function(unwrap(command.callback))
        for parameter in command.params:
            if isinstance(parameter, TyperArgument) and not parameter.help and parameter.name in meant:
                parameter.help = getattr(meant[parameter.name].default, "help", None)
    return command


class _Announced(click.Command):
    """A command that is known by name and help until somebody calls it."""

    def __init__(self, name: str, lazy: LazyCommand) -> None:
        super().__init__(name, help=lazy.help)
        self._lazy = lazy

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        command = self._lazy.command(self.name or "")
        return command.make_context(info_name, args, parent, **extra)


def lazy_group(commands: Mapping[str, LazyCommand]) -> type[TyperGroup]:
    """A group of these commands, in this order; the class for `typer.Typer(cls=...)`."""

    class LazyGroup(TyperGroup):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self.commands = {name: _Announced(name, lazy) for name, lazy in commands.items()}

    return LazyGroup
