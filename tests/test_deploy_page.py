"""docs/deploy.md: the commands that make files do so as written."""

from pathlib import Path

from typer.testing import CliRunner

from cli.main import app
from tests.doc_pages import DOCS, blocks

# What needs neither root nor a server, in the page's order.
MAKES_FILES = ("ca", "server-cert", "secret", "node-key", "digest", "approve", "release-key", "sign")
NODES_LIST = "/etc/murmuration/clientapp/approved"


def test_what_the_page_makes_is_made_by_its_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands = [words for block in blocks(DOCS / "deploy.md") for words in block.commands()]
    made = [words for words in commands if words[0] == "deploy" and words[1] in MAKES_FILES]
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
