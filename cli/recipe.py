"""`murmur recipe`: the run configuration's keys, what they mean and what they are by default."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cli.composing import default_config
from recipes.run_config import known_keys

TABLE_WIDTH = 80  # in less, a column of meanings would cut words in two


def recipe() -> None:
    """List every key of the run configuration with its default and meaning."""
    defaults, console = default_config(), Console()
    if console.width < TABLE_WIDTH:
        for key, meaning in known_keys().items():
            console.print(f"{key} = {defaults[key]!r}", markup=False)
            console.print(Padding(Text(meaning), (0, 0, 1, 4)))
        return
    table = Table()
    table.add_column("key", min_width=max(map(len, defaults)))
    table.add_column("default")
    table.add_column("meaning")
    for key, meaning in known_keys().items():
        table.add_row(key, repr(defaults[key]), meaning)
    console.print(table)
