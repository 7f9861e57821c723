"""`murmur recipe`: the run configuration's keys, what they mean and what they are by default."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from cli.composing import default_config
from recipes.run_config import known_keys


def recipe() -> None:
    """List every key of the run configuration with its default and meaning."""
    defaults = default_config()
    table = Table()
    table.add_column("key", min_width=max(map(len, defaults)))
    table.add_column("default")
    table.add_column("meaning")
    for key, meaning in known_keys().items():
        table.add_row(key, repr(defaults[key]), meaning)
    Console().print(table)
