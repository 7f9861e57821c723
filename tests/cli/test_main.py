"""The command itself: what it offers is what there is, and offering it loads nothing heavy."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from cli.main import COMMANDS, app


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


@pytest.mark.parametrize("arguments", [["--help"], ["plan", "--help"], ["deploy", "--help"]])
def test_help_does_not_wait_for_torch(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom cli.main import app\n"
        f"try:\n    app({arguments})\nexcept SystemExit as end:\n    assert not end.code\n"
        "sys.exit(' '.join({'torch', 'flwr', 'ray', 'scipy', 'numba'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
