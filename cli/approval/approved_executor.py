"""What a node's SuperExec starts: `cli.approval.approved_app` for a ClientApp, nothing for other kinds."""

from __future__ import annotations

import subprocess
import sys

from flwr.supercore.constant import TaskType
from flwr.supercore.superexec.executor.subprocess_executor import SubprocessExecutor
from flwr.supercore.superexec.executor.types import ExecutionSpec, LaunchResult


class ApprovedExecutor(SubprocessExecutor):  # type: ignore[misc]  # flwr is untyped for us
    """Flower's executor of processes on this host, for one kind of task.

    The process is this interpreter, without the working folder on its path (`-P`); an app's dependencies are
    never installed.
    """

    def launch(self, spec: ExecutionSpec) -> LaunchResult:
        """Start the process for a task, or refuse it."""
        if spec.task_type != TaskType.CLIENT_APP:
            return LaunchResult.failed(f"a node runs no {spec.task_type}; the server asked for it")
        words = [sys.executable, "-P", "-m", "cli.approval.approved_app"]
        words += ["--runtime-api-address", spec.runtime_api_address, "--token", spec.token, "--insecure"]
        if spec.parent_pid is not None:
            words += ["--parent-pid", str(spec.parent_pid)]
        subprocess.Popen(words)
        return LaunchResult.accepted()
