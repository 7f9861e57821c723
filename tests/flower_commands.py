"""Flower's commands without its imports each time: a process has them, and forks for each command.

For what a test asks again and again; what it does once, it does as a person would (`tests.processes`).
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.processes import environment

PROGRAM = """
import json, os, sys, traceback
from flwr.cli.app import app

for line in sys.stdin:
    printed = os.memfd_create("printed")
    if (child := os.fork()) == 0:
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        sys.argv = ["flwr", *json.loads(line)]
        try:
            app()
        except Exception:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(0)
    os.waitpid(child, 0)
    os.lseek(printed, 0, os.SEEK_SET)
    with open(printed, encoding="utf-8") as file:
        print(json.dumps(file.read()), flush=True)
"""


class FlowerCommands:
    """`flwr` in the environment of a home; `before` are the words before a command that run it elsewhere."""

    def __init__(self, home: Path, before: Sequence[str] = ()) -> None:
        self._home, self._before = home, before
        self._process: subprocess.Popen[str] | None = None

    def __call__(self, *words: str) -> str:
        """What `flwr` with these words prints."""
        if self._process is None:
            self._process = subprocess.Popen(
                [*self._before, sys.executable, "-P", "-c", PROGRAM],
                cwd=self._home,
                env=environment(self._home),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        return str(json.loads(self._process.stdout.readline()))

    def online(self) -> int:
        """How many SuperNodes are connected."""
        return self("supernode", "list", "--format", "json").count('"online"')

    def status(self, run_id: str) -> str:
        """The status of a run."""
        answer = self("ls", "--run-id", run_id, "--format", "json")
        return str(json.loads(answer[answer.index("{") :])["runs"][0]["status"])

    def close(self) -> None:
        """End the process; the next command starts another."""
        if self._process is not None:
            self._process.communicate()
            self._process = None
