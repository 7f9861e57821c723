"""The exit statuses of docs/commands.md are those of the code."""

import ast
import re
import signal

from cli import exits
from recipes import checkout

NAMES = {name: value for name, value in vars(exits).items() if name.isupper()}
BY_SIGNAL = {128 + signal.SIGTERM}


def test_the_page_has_the_statuses_of_the_code() -> None:
    page = (checkout() / "docs" / "commands.md").read_text(encoding="utf-8")
    told = [int(one) for one in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)]
    assert told == sorted({0, *NAMES.values(), *BY_SIGNAL})
    assert NAMES["INTERRUPTED"] == 128 + signal.SIGINT


def test_no_command_ends_with_a_status_of_its_own() -> None:
    """Each `typer.Exit` takes 0, a name of `cli.exits`, or what follows a run to its end."""
    ends = 0
    for file in sorted((checkout() / "cli").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "typer.Exit":
                ends += 1
                status = (*node.args, *(one.value for one in node.keywords))
                assert len(status) == 1 and _is_known(status[0]), f"{file}:{node.lineno}"
    assert ends > 20


def _is_known(status: ast.expr) -> bool:
    if isinstance(status, ast.IfExp):
        return _is_known(status.body) and _is_known(status.orelse)
    if isinstance(status, ast.Call):
        return ast.unparse(status.func) == "follow"
    return ast.unparse(status) in {"0", *NAMES}
