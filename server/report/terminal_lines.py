"""All lines that this process and the processes it starts write to the terminal, one at a time.

A view that changes in place is torn by any other writer: warnings, log lines, a child's traceback. So while
it is shown, the descriptors of the output lead into a pipe, and its lines are printed above the view.

Guarantee: a writer never waits for the view. A line that cannot be shown above it is written to the terminal
as it is, and what comes after `close` goes straight to the terminal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread

END = b"\0the view ends\0"
LONGEST_PART_BYTES = 65536
PATIENCE_SECONDS = 2.0


class TerminalLines:
    """Takes the place of the terminal at the descriptors of standard output and error.

    Args:
        show: Called with each line, without its end, in a thread of its own.

    Attributes:
        terminal: A descriptor of the terminal itself.
    """

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._ended = Event()
        self._replaced: dict[int, int] = {}
        self.terminal = os.dup(sys.stdout.fileno())

    def take(self) -> None:
        """Take all lines from now on.

        Raises:
            OSError: If the descriptors cannot be replaced.
        """
        self._reader, self._writer = os.pipe()
        self._replaced = {one: os.dup(one) for one in self._descriptors()}
        self._flush()
        for one in self._replaced:
            os.dup2(self._writer, one)
        Thread(target=self._read, name="terminal lines", daemon=True).start()

    def close(self) -> None:
        """Give the terminal back, after all lines that were written; a second call does nothing."""
        if not self._replaced:
            return
        self._flush()
        for one, before in self._replaced.items():
            os.dup2(before, one)
            os.close(before)
        self._replaced = {}
        os.write(self._writer, END + b"\n")
        os.close(self._writer)
        self._ended.wait(PATIENCE_SECONDS)

    @staticmethod
    def _descriptors() -> list[int]:
        found = [stream.fileno() for stream in (sys.stdout, sys.stderr)]
        return [one for one in dict.fromkeys(found) if os.isatty(one)]

    @staticmethod
    def _flush() -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()

    def _read(self) -> None:
        """Pass the lines on until the last process that has the pipe has ended."""
        rest = b""
        while part := os.read(self._reader, LONGEST_PART_BYTES):
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                self._take(line)
        if rest:
            self._take(rest)
        os.close(self._reader)
        os.close(self.terminal)

    def _take(self, line: bytes) -> None:
        if line.endswith(END):
            if unfinished := line.removesuffix(END):
                self._take(unfinished)
            self._ended.set()
            return
        if not self._ended.is_set():
            try:
                self._show(line.decode("utf-8", "replace").rstrip("\r"))
                return
            except Exception:
                self._show = self._refuse
        with suppress(OSError):
            _write(self.terminal, line + b"\n")

    @staticmethod
    def _refuse(line: str) -> None:
        raise RuntimeError("lines are not shown above the view any more")


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
