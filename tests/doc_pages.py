"""The pages of the documentation, their blocks of commands, and whether a command is one."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import typer

from cli.main import app
from recipes import checkout

ROOT = checkout() or Path()
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```sh\n(.*?)^```$(?:\s*^```text\n(.*?)^```$)?", re.DOTALL | re.MULTILINE)
NEEDS = "# needs: "
OPERATORS = frozenset("();<>|&")


@dataclass(frozen=True)
class Block:
    """A block of commands, and what the page says of its output."""

    text: str
    shown: str

    @property
    def is_run(self) -> bool:
        """Whether a test runs it; else its first line says what it needs."""
        return not self.text.startswith(NEEDS)

    def lines(self) -> list[str]:
        """The commands, one a line, without what needs nothing said."""
        joined = self.text.replace("\\\n", " ").splitlines()
        return [line for line in joined if line.strip() and not line.lstrip().startswith("#")]

    def commands(self) -> list[list[str]]:
        """The words of each `murmur` command, without its name."""
        return [words for line in self.lines() for words in _murmur(line)]


def pages() -> list[Path]:
    return sorted(DOCS.rglob("*.md"))


def blocks(page: Path) -> list[Block]:
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [Block(text, shown) for text, shown in found]


def parse(words: list[str]) -> None:
    """Parse a command's words by the program. Raises `click.UsageError` where they are no command."""
    context = typer.main.get_command(app).make_context("murmur", list(words))
    while isinstance(group := context.command, click.Group):
        name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)


def _murmur(line: str) -> Iterator[list[str]]:
    """The commands in a line of a shell, up to the next pipe, redirection or command."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] | None = None
    for word in lexer:
        if word == "murmur":
            words = []
        elif words is not None and set(word) <= OPERATORS:
            yield words
            words = None
        elif words is not None:
            words.append(word)
    if words is not None:
        yield words
