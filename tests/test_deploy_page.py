"""docs/deploy.md: every `murmur` command of the page is one, and those that make files do so as written."""

import re
import shlex
from pathlib import Path

import click
import pytest
import typer
from typer.testing import CliRunner

from cli.main import app

PAGE = Path(__file__).resolve().parent.parent / "docs" / "deploy.md"
# What needs neither root nor a server, in the page's order.
MAKES_FILES = ("ca", "server-cert", "secret", "node-key", "digest", "approve", "release-key", "sign")
NODES_LIST = "/etc/murmuration/clientapp/approved"


def commands(page=PAGE):
    """The words of each `murmur` command in a page's blocks, without another user's name before them."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines if re.search(r"\bmurmur ", line)]
    return [one[one.index("murmur") + 1 :] for one in words if "murmur" in one]


def parse(words):
    """Whether these words are a command. Raises `click.UsageError` where they are none."""
    context = typer.main.get_command(app).make_context("murmur", list(words))
    while isinstance(group := context.command, click.Group):
        name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("words", [["deploy", "ca", "--foldr", "x"], ["deploy", "authority"], ["docter"]])
def test_what_is_no_command_would_be_seen(words):
    with pytest.raises(click.UsageError):
        parse(words)


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_a_command_of_the_page_is_one(words):
    parse([word for word in words if word != "..."])


def test_what_the_page_makes_is_made_by_its_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = [words for words in commands() if words[0] == "deploy" and words[1] in MAKES_FILES]
    assert {words[1] for words in made} == set(MAKES_FILES)
    for words in made:
        here = [word.replace(NODES_LIST, "node/approved").replace("9f2c...", "9f2c" * 16) for word in words]
        done = CliRunner().invoke(app, here)
        assert done.exit_code == 0, (here, done.output)
    assert {path.name for path in Path("federation").iterdir()} == {
        "ca.crt", "ca.key", "server.crt", "server.key", "superexec.secret",
    }  # fmt: skip
    assert {path.name for path in Path("node").iterdir()} == {
        "clinic-a.key", "clinic-a.pub", "superexec.secret", "approved",
    }  # fmt: skip
    renewed = CliRunner().invoke(app, ["deploy", "renew", "--folder", "federation"])
    assert renewed.exit_code == 0, renewed.output
