"""The progress bar of every command that takes more than two seconds.

Guarantee: it is drawn on standard error, and only where a person looks at it (`base.terminal`). What a
command writes to standard output is the same with and without it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from base.printable_text import one_line
from base.terminal import is_interactive

Unit = Literal["count", "bytes", "share"]
One = TypeVar("One")
LONGEST_WORDS = 60

UNITS: dict[Unit, tuple[type[ProgressColumn], ...]] = {
    "count": (MofNCompleteColumn,),
    "bytes": (DownloadColumn, TransferSpeedColumn),
    "share": (TaskProgressColumn,),
}


class Bar:
    """A bar that is shown. Calling it says how much is done, and of how much if that is known by now."""

    def __init__(self, progress: Progress, words: str, total: float | None) -> None:
        self._progress = progress
        self._task = progress.add_task(one_line(words, most=LONGEST_WORDS), total=total)

    def __call__(self, done: float, total: float | None = None) -> None:
        """Say how much is done; a total that was known stays."""
        self._progress.update(self._task, completed=done, total=total)

    def advance(self, by: float = 1) -> None:
        """Say that so much more is done."""
        self._progress.advance(self._task, by)


@contextmanager
def progress_bar(words: str, total: float | None = None, unit: Unit = "count") -> Iterator[Bar]:
    """Show a bar for the time of the block.

    Args:
        words: What is being done.
        total: How much there is to do; None if it is not known (yet).
        unit: What is counted; a "share" is shown as a percentage.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        *(column() for column in UNITS[unit]),
        TimeRemainingColumn(),
    )
    looked_at = is_interactive(sys.stderr, os.environ)
    # Lines on the same terminal go above the bar; a file or a pipe gets what the command writes.
    on_one_screen = is_interactive(sys.stdout, os.environ)
    with Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        disable=not looked_at,
        redirect_stdout=looked_at and on_one_screen,
        redirect_stderr=looked_at,
    ) as progress:
        yield Bar(progress, words, total)


def counted(ones: Iterable[One], words: str, total: int) -> Iterator[One]:
    """Yield what is iterated over, with a bar that counts it."""
    with progress_bar(words, total) as bar:
        for one in ones:
            yield one
            bar.advance()
