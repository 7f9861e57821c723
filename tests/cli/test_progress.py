import io
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import pytest

from cli import progress
from cli.progress import counted, progress_bar


class Screen(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)


@contextmanager
def streams():
    """Standard output as a file, and standard error as a terminal."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(Screen()) as screen:
        yield out, screen


def test_a_bar_is_on_standard_error_alone_and_goes_away():
    with streams() as (out, screen), progress_bar("utterances", 4) as bar:
        bar(1)
        bar.advance()
        print("a result")
        bar(3, 6)
    assert out.getvalue() == "a result\n"
    assert "utterances" in screen.getvalue() and "3/6" in screen.getvalue()
    assert screen.getvalue().endswith("\x1b[1A\x1b[2K")  # its line is erased


@pytest.mark.parametrize(("name", "value"), [("TERM", "dumb"), ("CI", "true")])
def test_where_nobody_looks_nothing_is_drawn(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with streams() as (out, screen):
        assert list(counted("abc", "letters", 3)) == ["a", "b", "c"]
    assert (out.getvalue(), screen.getvalue()) == ("", "")


def test_what_is_counted_is_passed_on_as_it_comes():
    with streams() as (_, screen):
        seen = [(one, "2/2" in screen.getvalue()) for one in counted(iter("ab"), "letters", 2)]
    assert seen == [("a", False), ("b", False)] and "2/2" in screen.getvalue()


def test_words_of_others_cannot_move_the_cursor_nor_be_markup():
    with streams() as (_, screen), progress_bar("[bold]x\x1b[2J\nend", 1):
        pass
    assert "[bold]x" in screen.getvalue() and "\x1b[2J" not in screen.getvalue()


@pytest.mark.parametrize(
    ("unit", "shown"), [("count", "1000000/2000000"), ("bytes", "1.0/2.0 MB"), ("share", "50%")]
)
def test_every_unit_can_be_shown(unit, shown):
    assert unit in progress.UNITS
    with streams() as (_, screen), progress_bar("x", 2_000_000, unit=unit) as bar:
        bar(1_000_000)
    assert shown in screen.getvalue()
