"""docs/: every command is one, those that need nothing are run as they stand, and quoted messages exist."""

import ast
import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest
from typer.testing import CliRunner

from cli.main import app
from tests.doc_pages import DOCS, NEEDS, ROOT, Block, blocks, pages, parse

COMMANDS = {
    f"{page.relative_to(ROOT)}: {' '.join(words)}": words
    for page in (*pages(), ROOT / "README.md")
    for block in blocks(page)
    for words in block.commands()
}
RUN = [page for page in pages() if any(block.is_run for block in blocks(page))]
ROOMS = ("audit", "base", "cli", "client", "privacy", "recipes", "server", "speech", "strategies", "wire")


@pytest.mark.parametrize("words", [["deploy", "ca", "--foldr", "x"], ["deploy", "authority"], ["docter"]])
def test_what_is_no_command_would_be_seen(words: list[str]) -> None:
    with pytest.raises(click.UsageError):
        parse(words)


def test_commands_are_found_in_lines_of_a_shell() -> None:
    block = Block(
        "murmur paper show 1 > a.toml && murmur run --set 'a=1 b=2'  # a > b\nenv A=1 murmur recipe\n", ""
    )
    assert block.commands() == [["paper", "show", "1"], ["run", "--set", "a=1 b=2"], ["recipe"]]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_pages_is_one(name: str) -> None:
    parse([word for word in COMMANDS[name] if word != "..."])


@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(DOCS)))
def test_the_commands_of_a_page_that_need_nothing_run_as_they_stand(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the page's order and in one folder. A block of text after them is in their output, line by line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    Path("recipes").symlink_to(ROOT / "recipes")
    for block in filter(lambda block: block.is_run, blocks(page)):
        output = "".join(map(_run, block.lines()))
        for line in filter(None, map(str.strip, block.shown.splitlines())):
            assert line in output


def _run(line: str) -> str:
    words = shlex.split(line, comments=True)
    if words[0] != "murmur":
        return subprocess.run(["bash", "-ec", line], check=True, capture_output=True, text=True).stdout
    done = CliRunner().invoke(app, words[1:])
    assert done.exit_code == 0, (line, done.output, done.exception)
    return done.output


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(DOCS)))
def test_what_a_block_needs_is_said_in_words(page: Path) -> None:
    for block in blocks(page):
        first = block.text.partition("\n")[0]
        assert not first.startswith("#") or re.fullmatch(f"{NEEDS}.{{3,}}", first)


def messages_of_the_code() -> list[str]:
    """All texts in the code, with "\\0" for each value."""
    found = []
    for path in (path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def test_the_messages_of_the_troubleshooting_page_are_in_the_code() -> None:
    headings = re.findall(
        r"^### `(.+)`$", (DOCS / "troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(headings) >= 25
    known = messages_of_the_code()
    for heading in headings:
        wanted = re.compile(r"[^\n]*?".join(map(re.escape, (part.strip() for part in heading.split("...")))))
        assert any(wanted.search(message) for message in known), f"no message has {heading!r}"
