"""Follow a run of a deployment to its end, through restarts of the SuperLink."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Sequence
from typing import Any

import typer

from base.printable_text import one_line
from cli.exits import FAILED
from cli.processes import QUIET, tool

COMPLETED = "finished:completed"
PAUSE_SECONDS = 3.0
PATIENCE_SECONDS = 600.0
LONGEST_LINE = 10_000
FLOWERS_OWN = re.compile(r"^(\x1b\[\d+m)?(INFO|WARNING|DEBUG) ")


def follow(run_id: str, connection: Sequence[str]) -> int:
    """Show the log of a run until it has ended; 0 if it completed, else 1.

    A SuperLink that goes away is waited for: with its database on disk, the run goes on when it comes
    back. The log is then streamed again from its start, and what was shown is not shown again.
    """
    shown, seen = 0, time.monotonic()
    typer.echo(f"run {run_id}")
    while True:
        shown = _show_log(run_id, connection, shown)
        status, details = _status(run_id, connection)
        if status.startswith("finished"):
            break
        if status:
            seen = time.monotonic()
        elif time.monotonic() - seen > PATIENCE_SECONDS:
            typer.echo(f"murmur deploy run: no SuperLink for {PATIENCE_SECONDS:.0f} s", err=True)
            return FAILED
        time.sleep(PAUSE_SECONDS)
    if status != COMPLETED:
        ended = f"murmur deploy run: run {run_id} ended as {status}: {details or 'see above'}"
        typer.echo(one_line(ended, most=LONGEST_LINE), err=True)
    return 0 if status == COMPLETED else FAILED


def _show_log(run_id: str, connection: Sequence[str], shown: int) -> int:
    """Stream the log, skipping `shown` lines; returns how many lines have been shown by now."""
    process = subprocess.Popen(
        [tool("flwr"), "log", run_id, *connection, "--stream"],
        env={**os.environ, **QUIET},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    number = 0
    try:
        for line in process.stdout or ():
            if FLOWERS_OWN.match(line):
                continue
            number += 1
            if number > shown:
                typer.echo(one_line(line.rstrip("\r\n"), most=LONGEST_LINE))
    finally:
        process.terminate()
        process.wait()
    return max(number, shown)


def _status(run_id: str, connection: Sequence[str]) -> tuple[str, str]:
    """Flower's status of the run and its details; empty if the SuperLink cannot be asked now."""
    done = subprocess.run(
        [tool("flwr"), "ls", *connection, "--run-id", run_id, "--format", "json"],
        env={**os.environ, **QUIET},
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        answer: dict[str, Any] = json.loads(done.stdout[max(done.stdout.find("{"), 0) :])
        run = answer["runs"][0]
    except (json.JSONDecodeError, KeyError, IndexError):
        return "", ""
    return str(run["status"]), str(run.get("status-details") or "")
