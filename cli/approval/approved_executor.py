"""What a node's SuperExec starts: `cli.approval.approved_app`, which refuses tasks that are no ClientApp."""

from __future__ import annotations

import os
import subprocess
import sys

from flwr.supercore.constant import TaskType
from flwr.supercore.superexec.executor.subprocess_executor import SubprocessExecutor
from flwr.supercore.superexec.executor.types import ExecutionSpec, LaunchResult

from cli.approval.task_environment import REFUSED, TOKEN


class ApprovedExecutor(SubprocessExecutor):  # type: ignore[misc]  # flwr is untyped for us
    """Flower's executor of processes on this host, for one kind of task.

    The process is this interpreter, without the working folder on its path (`-P`); an app's dependencies are
    never installed. It has the task's token from its environment: every user of the host sees its words.

    What is no ClientApp gets such a process too, which answers that it is refused. A task that nobody takes
    would be offered again for ever, and Flower's SuperNode would wait for its answer and do nothing else.

    A process that is too slow to take its task while its token is good cannot take it later: it is ended
    where the task is offered again. Else, on a busy host, each would make the next one slower.
    """

    def __init__(self) -> None:
        self._processes: dict[int | None, subprocess.Popen[bytes]] = {}

    def launch(self, spec: ExecutionSpec) -> LaunchResult:
        """Start the process that answers a task."""
        words = [sys.executable, "-P", "-m", "cli.approval.approved_app"]
        words += ["--runtime-api-address", spec.runtime_api_address, "--insecure"]
        if spec.parent_pid is not None:
            words += ["--parent-pid", str(spec.parent_pid)]
        refused = "" if spec.task_type == TaskType.CLIENT_APP else str(spec.task_type)
        self._processes = {task: one for task, one in self._processes.items() if one.poll() is None}
        if (late := self._processes.pop(spec.task_id, None)) is not None:
            late.kill()
        environment = {**os.environ, TOKEN: spec.token, REFUSED: refused}
        self._processes[spec.task_id] = subprocess.Popen(words, env=environment)
        return LaunchResult.accepted()
