"""`murmur deploy clientapp`: Flower's SuperExec for a node, which runs approved bundles and nothing else.

Flower's SuperExec starts a command by the kind of task that the server asks for (`flwr-clientapp`, but
`flwr-agentapp` and others as well), which it finds on the path. This command puts a folder of its own first
on that path. In it `flwr-clientapp` is `cli.approved_app`, and every other command refuses.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from cli.approval import Approvals, NotApproved
from cli.processes import QUIET

APPROVALS = "MURMUR_APPROVED"  # what the commands are told: the node's list
PARAMETERS = "MURMUR_MOST_PARAMETERS"  # of the largest model that may come
FOLDER = "MURMUR_TASKS"  # and where the folders of tasks are made
MOST_PARAMETERS = 260_000_000  # the paper's model has 255.8 million
ALLOWED = "flwr-clientapp"

SECRET_HELP = "The secret that the SuperNode was started with."
APPROVED_HELP = "The node's list of approvals (`murmur deploy approve`); read anew for each task."


def clientapp(
    supernode: Annotated[str, typer.Option(help="The SuperNode's own address for it, host:9094.")],
    approved: Annotated[Path, typer.Option(help=APPROVED_HELP)],
    secret: Annotated[Path, typer.Option(help=SECRET_HELP)],
    most_parameters: Annotated[
        int, typer.Option(min=1, help="Of a model that the server may send; bounds what its messages take.")
    ] = MOST_PARAMETERS,
    health: Annotated[str, typer.Option(help="host:port to answer grpcio's health protocol on.")] = "",
) -> None:
    """Run what the SuperNode is asked for, if the node's owner approved it."""
    try:
        approvals = Approvals.read(approved)
    except NotApproved as error:
        typer.echo(f"murmur deploy clientapp: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"this node runs {approvals}")
    folder = Path(tempfile.mkdtemp(prefix="murmur-clientapp-"))
    try:
        told = {APPROVALS: str(approved.resolve()), PARAMETERS: str(most_parameters)}
        _superexec(folder, told, supernode, secret, health)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _superexec(folder: Path, told: Mapping[str, str], supernode: str, secret: Path, health: str) -> None:
    from flwr.supercore.cli import flower_superexec

    (folder / "tasks").mkdir()
    commands = make_commands(folder / "commands")
    os.environ.update(QUIET)
    os.environ.update({**told, FOLDER: str(folder / "tasks")})
    os.environ["PATH"] = os.pathsep.join([str(commands), os.environ.get("PATH", os.defpath)])
    given = ["--insecure", "--runtime-api-address", supernode, "--superexec-auth-secret-file", str(secret)]
    sys.argv = ["flower-superexec", *given, *(["--health-server-address", health] if health else [])]
    flower_superexec()


def make_commands(folder: Path) -> Path:
    """Make, in `folder`, every command that Flower's SuperExec may start; returns the folder.

    `-P` keeps the working folder off the path of imports.
    """
    from flwr.supercore.constant import TASK_TYPE_TO_COMMAND

    if ALLOWED not in TASK_TYPE_TO_COMMAND.values():
        raise RuntimeError(f"this Flower starts no {ALLOWED}: install the release that `murmur doctor` names")
    folder.mkdir()
    python = shlex.quote(sys.executable)
    for name in set(TASK_TYPE_TO_COMMAND.values()):
        line = f"echo 'refused: a node runs no {name}; the server asked for it' >&2; exit 1"
        if name == ALLOWED:
            line = f'exec {python} -P -m cli.approved_app "$@"'
        command = folder / name
        command.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        command.chmod(0o700)
    return folder
