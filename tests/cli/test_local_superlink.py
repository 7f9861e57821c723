"""The SuperLink of a run ends with it, however the run ends."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import environment, started_with, wait_until

WAITS = """
import time
from cli.local_superlink import local_superlink
with local_superlink("local") as superlink:
    print(superlink.folder, flush=True)
    time.sleep(100)
"""


@pytest.mark.federation
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_that_was_started_outlives_a_signal(tmp_path, sent):
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS], env=environment(tmp_path), stdout=subprocess.PIPE, text=True
    )
    try:
        folder = Path(process.stdout.readline().strip())
        assert folder.is_dir() and len(started_with(MURMUR_HOME=tmp_path)) > 1
        process.send_signal(sent)
        assert process.wait(30) != 0
        wait_until(lambda: not started_with(MURMUR_HOME=tmp_path), seconds=30, what="the end of all")
        assert not folder.exists()
    finally:
        process.kill()
