"""What a node starts in place of Flower's `flwr-clientapp`: the same, for approved bundles only.

Flower's ClientApp process takes the task's bundle from the SuperNode, unpacks it where bundles of before
lie, and imports it. This one stands before that step: the bundle's bytes are looked up in the node's list of
approvals first, and unpacked in a fresh folder that only this task has, so that nothing which was planted in
an earlier one is found. The folder of the run's app, which the server names, must be that one.

Guarantee: no byte of a bundle is unpacked, and no code of it imported, unless `cli.approval.approvals` finds
it in the list. What is refused ends as the task's error, with both digests, here and on the server.

This module imports nothing of the packages that a bundle holds: what is imported first would be what runs.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from flwr.common.config import get_project_dir
from flwr.supernode.cli.flwr_clientapp import flwr_clientapp
from flwr.supernode.runtime import run_clientapp

from cli.approval.approvals import Approvals, NotApproved
from cli.approval.bounded_messages import bound_messages, inflation
from cli.approval.task_environment import APPROVALS, FOLDER, PARAMETERS, REFUSED, TOKEN

NO_MESSAGE = 70
SIGNATURE = "run.release-signature"


class ApprovedTask:
    """The steps of Flower's ClientApp process that take a task and install its bundle.

    Args:
        approvals: The node's list, which is read anew for every task.
        refused: The task's kind, if it is one which no node runs.

    Raises:
        AttributeError: If this Flower has not the two steps: then no task may be taken.
    """

    def __init__(self, approvals: Path, refused: str = "") -> None:
        self._approvals, self._refused = approvals, refused
        self._pull = run_clientapp.pull_task_input
        self._install = run_clientapp.install_from_fab
        self._run: Any = None
        self._claimed = ""

    def pull(self, client: Any) -> Any:
        """Flower's own step; keeps what the server says of the run."""
        message, context, run, bundle = self._pull(client)
        self._run, self._claimed = run, bundle.hash_str
        return message, context, run, bundle

    def install(self, content: bytes, skip_prompt: bool = False) -> Path:
        """Install an approved bundle.

        Raises:
            NotApproved: If it is not approved, the run would be looked for in another folder than that of
                this bundle, or the task is of a kind that is refused.
        """
        if self._refused:
            raise NotApproved(f"a node runs no {self._refused}; the server asked for it")
        signature = str(self._run.override_config.get(SIGNATURE, ""))
        digest = self._listed().require(content, signature)
        installed: Path = self._install(content, skip_prompt=skip_prompt)
        named = get_project_dir(self._run.fab_id, self._run.fab_version, self._claimed)
        if self._claimed != digest or named != installed:
            raise NotApproved(
                f"the server's run is of {named.name!r}, sha256 {self._claimed!r}, and the bundle it sent is "
                f"{installed.name!r}, sha256 {digest}: have the server's owner submit the run again"
            )
        return installed

    def _listed(self) -> Approvals:
        """The node's list; what is wrong with it stays on the node."""
        try:
            return Approvals.read(self._approvals)
        except NotApproved as error:
            print(f"murmur deploy clientapp: {error}", file=sys.stderr, flush=True)
            raise NotApproved("this node's list of approvals cannot be used: its own log says why") from None

    def put_in_place(self) -> None:
        """Let Flower's process take these steps for its own."""
        run_clientapp.pull_task_input = self.pull
        run_clientapp.install_from_fab = self.install


def end_without_message() -> None:
    """Let a task that gets no message end as one whose process was killed.

    Flower 1.39 ends it as failed then, and its SuperNode waits for the reply for ever: connected, healthy and
    deaf to all that comes later. For a task whose process falls silent it answers itself, within a minute.
    """
    pull = run_clientapp.pull_task_input

    def pull_or_end(client: Any) -> Any:
        try:
            return pull(client)
        except Exception:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(NO_MESSAGE)

    run_clientapp.pull_task_input = pull_or_end


def main() -> None:
    """Flower's `flwr-clientapp`, with these steps and a folder of its own."""
    tasks = Path(os.environ[FOLDER])
    _remove_ended(tasks)
    folder = tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=tasks)
    os.environ["FLWR_HOME"] = folder
    sys.argv += ["--token", os.environ.pop(TOKEN)]
    ApprovedTask(Path(os.environ[APPROVALS]), os.environ[REFUSED]).put_in_place()
    bound_messages(inflation().Allowance.of_model(int(os.environ[PARAMETERS])))
    end_without_message()
    try:
        flwr_clientapp()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_ended(tasks: Path) -> None:
    """Remove the folders of tasks whose process was killed."""
    for folder in tasks.iterdir():
        number = folder.name.partition("-")[0]
        if number.isdecimal() and not Path("/proc", number).exists():
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
