"""Shell completion: what the shells are told, without waiting for torch."""

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from cli.main import COMMANDS, app

# How each shell's function asks: the variables beside `_MURMUR_COMPLETE=complete_SHELL`.
ASKED = {
    "bash": lambda line: {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)},
    "zsh": lambda line: {"_TYPER_COMPLETE_ARGS": line},
    "fish": lambda line: {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
}


def completed(shell: str, line: str) -> str:
    told = {"_MURMUR_COMPLETE": f"complete_{shell}", **ASKED[shell](line)}
    return CliRunner().invoke(app, [], prog_name="murmur", env=told).output


@pytest.mark.parametrize("shell", ASKED)
def test_a_command_is_completed(shell: str) -> None:
    said = completed(shell, "murmur rep")
    assert "report" in said and "transcribe" not in said


@pytest.mark.parametrize("shell", ASKED)
def test_the_commands_and_options_of_a_group_are_completed(shell: str) -> None:
    assert "verify" in completed(shell, "murmur ledger ver")
    assert "--profile" in completed(shell, "murmur ledger show --prof")


@pytest.mark.parametrize("shell", ASKED)
def test_what_a_shell_is_to_be_told_can_be_shown(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "--show-completion", shell], capture_output=True, text=True
    )
    assert done.returncode == 0 and f"complete_{shell}" in done.stdout, done.stderr


def test_completing_loads_no_command() -> None:
    code = (
        "import sys\nfrom cli.main import app\n"
        "try:\n    app([], prog_name='murmur')\nexcept SystemExit as end:\n    assert not end.code\n"
        "loaded = {'torch', 'flwr', 'ray', 'numba', 'scipy', 'cli.report.command'} & set(sys.modules)\n"
        "sys.exit(' '.join(loaded) or 0)"
    )
    told = {"_MURMUR_COMPLETE": "complete_bash", **ASKED["bash"]("murmur rep")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **told}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [name for name in COMMANDS if name.startswith("rep")]
