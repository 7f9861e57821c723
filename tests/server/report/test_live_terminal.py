"""The live view in a pseudo-terminal: a small program shows one, and the bytes that it writes are read."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import textwrap

import pytest

from base.terminal import is_interactive
from recipes import checkout

OPENING = """
import os, subprocess, sys, time
from rich.text import Text
from server.report.live_terminal import LiveTerminal
draw = lambda width, height: Text(f"VIEW {width}x{height}")
"""


def shown(program, *, columns=90, rows=30, **environ):
    """Run a program on a terminal of its own; return what it wrote there, and its exit status."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", OPENING + textwrap.dedent(program)],
        stdin=subprocess.DEVNULL,
        stdout=its,
        stderr=its,
        cwd=checkout(),
        env={"PATH": os.environ["PATH"], "TERM": "xterm-256color", "LANG": "C.UTF-8", **environ},
    )
    os.close(its)
    written = b""
    try:
        while part := os.read(ours, 65536):
            written += part
    except OSError:  # the last process that had it has ended
        pass
    os.close(ours)
    return written.decode(), process.wait(timeout=60)


def plain(text):
    """The text without control sequences; a carriage return alone begins a line anew."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r\n", "\n").replace("\r", "\n")


def test_the_lines_of_all_writers_are_above_the_view_and_in_order():
    text, status = shown(
        """
        with LiveTerminal(draw):
            print("row 1", flush=True)
            subprocess.run(["sh", "-c", "echo from a child >&2"])
            sys.stderr.write("\\x1b[31mred\\x1b[0m\\n")
            print("x" * 200)
            time.sleep(0.7)
            print("no end", end="")
        print("the summary")
        """
    )
    lines = [line for line in plain(text).split("\n") if line and not line.startswith("VIEW")]
    assert status == 0
    assert lines == ["row 1", "from a child", "red", "x" * 200, "no end", "the summary"]
    assert "VIEW 90x30" in text and text.index("VIEW 90x30") < text.index("row 1")
    assert "\x1b[?25l" not in text and "\x1b[?1049h" not in text  # neither cursor nor screen need repair


def test_an_error_in_drawing_is_one_warning_and_the_lines_go_on():
    text, status = shown(
        """
        state = {"value": 1}
        with LiveTerminal(lambda width, height: Text(f"VIEW {1 / state['value']}")):
            print("row 1", flush=True)
            state["value"] = 0
            time.sleep(1.3)
            print("row 2", flush=True)
        print("the summary")
        """
    )
    assert status == 0
    assert text.count("WARNING: the live view ends (ZeroDivisionError: division by zero)") == 1
    assert plain(text).rstrip().endswith("row 2\nthe summary")


def test_an_error_in_the_block_leaves_the_terminal_to_its_traceback():
    text, status = shown(
        """
        with LiveTerminal(draw):
            print("row 1", flush=True)
            raise KeyboardInterrupt
        """
    )
    assert status != 0
    assert "row 1" in text and "KeyboardInterrupt" in text.splitlines()[-1]


@pytest.mark.parametrize("environ", [{"CI": "true"}, {"TERM": "dumb"}, {"PYTHONIOENCODING": "latin-1"}])
def test_where_nobody_looks_the_bytes_are_those_of_print(environ):
    text, _ = shown("with LiveTerminal(draw): print('row 1')", **environ)
    assert text == "row 1\r\n"


def test_without_a_terminal_the_bytes_are_those_of_print():
    done = subprocess.run(
        [sys.executable, "-c", f"{OPENING}with LiveTerminal(draw): print('row 1')"],
        cwd=checkout(),
        capture_output=True,
        env={"PATH": os.environ["PATH"], "TERM": "xterm-256color"},
    )
    assert (done.stdout, done.stderr) == (b"row 1\n", b"")


def test_a_stream_that_is_closed_is_no_terminal():
    with open(os.devnull) as stream:
        pass
    assert not is_interactive(stream, {"TERM": "xterm"}) and not is_interactive(None, {"TERM": "xterm"})
