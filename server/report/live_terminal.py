"""Draws a view on the last lines of the terminal, while all other output goes on above it.

Guarantee: it never ends or delays a run. Without a terminal that a person looks at, nothing is drawn. After
an error in drawing one warning is printed, and the plain lines go on. The cursor stays visible and the screen
is the ordinary one, so whatever ends the process, the terminal needs no repair.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from base.printable_text import one_line
from base.terminal import is_interactive, takes_unicode
from server.report.terminal_lines import TerminalLines

REFRESH_SECONDS = 0.5

Draw = Callable[[int, int], RenderableType]


class _Console(Console):
    def show_cursor(self, show: bool = True) -> bool:
        """Leave the cursor as it is: nobody could show it again after a kill."""
        return False


class LiveTerminal:
    """Shows what `draw` returns, for the time of a `with` block.

    Args:
        draw: Called twice a second with the columns and the rows of the terminal.
        environ: The environment.
    """

    def __init__(self, draw: Draw, environ: Mapping[str, str] = os.environ) -> None:
        self._draw = draw
        self._stop, self._lock = Event(), Lock()
        self._lines: TerminalLines | None = None
        self._live: Live | None = None
        self._thread: Thread | None = None
        self.wanted = is_interactive(sys.stdout, environ) and takes_unicode(sys.stdout)

    def __enter__(self) -> Self:
        if self.wanted:
            try:
                self._start()
            except Exception as error:
                self._give_up(error)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._close()

    def _start(self) -> None:
        self._lines = TerminalLines(self._print_above)
        terminal = os.fdopen(os.dup(self._lines.terminal), "w", encoding="utf-8", errors="replace")
        console = _Console(file=terminal, force_terminal=True, highlight=False, markup=False, emoji=False)
        self._live = Live(
            console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._lines.take()
        self._live.start()
        self._refresh()
        self._thread = Thread(target=self._run, name="live view", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(REFRESH_SECONDS):
            try:
                self._refresh()
            except Exception as error:
                self._give_up(error)
                return

    def _refresh(self) -> None:
        if self._live is None or self._lines is None:
            return
        size = os.get_terminal_size(self._lines.terminal)
        if size.columns and size.lines:
            self._live.console.size = (size.columns, size.lines)
        width, height = self._live.console.size
        self._live.update(self._draw(width, height), refresh=True)

    def _print_above(self, line: str) -> None:
        """Print a line of the run, or of another process, above the view."""
        if self._live is None:
            raise RuntimeError("there is no view")
        self._live.console.print(Text.from_ansi(line), soft_wrap=True)

    def _give_up(self, error: Exception) -> None:
        self._close()
        reason = one_line(f"{type(error).__name__}: {error}")
        print(f"WARNING: the live view ends ({reason}); the table goes on", flush=True)

    def _close(self) -> None:
        """Take the view away and give the terminal back; a second call does nothing."""
        with self._lock:
            live, lines, self._live, self._lines = self._live, self._lines, None, None
        if lines is not None:
            if live is not None:
                with suppress(Exception):
                    live.stop()
                    live.console.file.close()
            lines.close()
