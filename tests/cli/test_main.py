"""The command itself: what it offers is what there is, and offering it loads nothing heavy."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
from typer.testing import CliRunner

from base.release import release
from cli.main import COMMANDS, app
from recipes import checkout
from recipes.run_config import known_keys


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_is_its_own(name: str) -> None:
    place = COMMANDS[name]
    assert (place.command(name).help or "").split("\n\n")[0].replace("\n", " ") == place.help
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0 and name in result.output


def test_all_commands_are_listed() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    assert all(name in result.output for name in COMMANDS)


def test_an_unknown_command_is_refused_with_the_nearest() -> None:
    result = CliRunner().invoke(app, ["transcibe"])
    assert result.exit_code == 2 and "transcribe" in result.output


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["plan", "--help"], ["deploy", "--help"]])
def test_help_does_not_wait_for_torch(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom cli.main import app\n"
        f"try:\n    app({arguments})\nexcept SystemExit as end:\n    assert not end.code\n"
        "sys.exit(' '.join({'torch', 'flwr', 'ray', 'scipy', 'numba'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_release_is_said() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"murmuration {release()}\n"


@pytest.mark.parametrize("width", [50, 80, 200])
def test_no_key_of_a_recipe_has_its_meaning_cut_off(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    shown = CliRunner().invoke(app, ["recipe"]).stdout
    assert max(map(len, shown.splitlines())) <= width
    words = {word for key, meaning in known_keys().items() for word in (key, *meaning.split())}
    assert words <= set(shown.split())


def test_every_package_that_is_imported_is_declared() -> None:
    project = tomllib.loads((checkout() / "pyproject.toml").read_text())["project"]
    given = (project["dependencies"], *project["optional-dependencies"].values())
    declared = {re.split(r"[\[<>=]", one)[0] for requirements in given for one in requirements}
    rooms = (
        *("audit", "base", "cli", "client", "optim", "privacy", "recipes", "server", "speech", "strategies"),
        "wire",
    )
    imported = {
        name.partition(".")[0]
        for room in rooms
        for file in (checkout() / room).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        for name in _modules(node)
    }
    distributions = packages_distributions()
    foreign = imported - sys.stdlib_module_names - {*rooms, "murmuration_data"}
    missing = {
        one for one in foreign if not {_plain(name) for name in distributions.get(one, [one])} & declared
    }
    assert missing <= {"ray"}  # of flwr[simulation]


def _modules(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")
