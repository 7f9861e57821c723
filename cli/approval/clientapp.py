"""`murmur deploy clientapp`: Flower's SuperExec for a node, which runs approved bundles and nothing else.

Flower's SuperExec starts a command by the kind of task that the server asks for (`flwr-clientapp`, but
`flwr-agentapp` and others as well), which it finds on the path. Here it is given an executor of our own,
which starts `cli.approval.approved_app` for every task: it runs a ClientApp, and answers that it refuses
other kinds.

Guarantee: what cannot be started so is not started at all. (Commands put first on the path would do only
where their folder may hold programs; else the system goes on to Flower's own.)
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from cli.approval.approvals import Approvals, NotApproved
from cli.approval.task_environment import APPROVALS, FOLDER, PARAMETERS
from cli.exits import REFUSED
from cli.processes import QUIET

MOST_PARAMETERS = 260_000_000  # the paper's model has 255.8 million

SECRET_HELP = "The secret that the SuperNode was started with."
APPROVED_HELP = "The node's list of approvals (`murmur deploy approve`); read anew for each task."


def clientapp(
    supernode: Annotated[str, typer.Option(help="The SuperNode's own address for it, host:9094.")],
    approved: Annotated[Path, typer.Option(help=APPROVED_HELP)],
    secret: Annotated[Path, typer.Option(help=SECRET_HELP)],
    most_parameters: Annotated[
        int,
        typer.Option(
            min=1, help="The largest model that the server may send; it bounds the size of messages."
        ),
    ] = MOST_PARAMETERS,
    health: Annotated[str, typer.Option(help="host:port to answer grpcio's health protocol on.")] = "",
) -> None:
    """Run what the SuperNode is asked for, if the node's owner approved it."""
    from flwr.supercore.auth import load_superexec_auth_secret

    try:
        approvals = Approvals.read(approved)
        shared = load_superexec_auth_secret(str(secret))
    except (NotApproved, ValueError) as error:
        typer.echo(f"murmur deploy clientapp: {error}", err=True)
        raise typer.Exit(REFUSED) from None
    typer.echo(f"this node runs {approvals}")
    folder = Path(tempfile.mkdtemp(prefix="murmur-clientapp-"))
    try:
        told = {APPROVALS: str(approved.resolve()), PARAMETERS: str(most_parameters)}
        _superexec(folder, told, supernode, shared, health)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _superexec(
    folder: Path, told: Mapping[str, str], supernode: str, secret: bytes | None, health: str
) -> None:
    from flwr.supercore.superexec import run_superexec as flower

    from cli.approval.approved_executor import ApprovedExecutor

    (folder / "tasks").mkdir()
    os.environ.update({**QUIET, **told, FOLDER: str(folder / "tasks")})
    _ = flower.get_executor  # of another Flower it may have moved: fail before a task is taken
    flower.get_executor = lambda *_, **__: ApprovedExecutor()
    flower.run_superexec(
        runtime_api_address=supernode,
        insecure=True,
        superexec_auth_secret=secret,
        health_server_address=health or None,
    )
