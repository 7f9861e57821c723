"""How many speakers had left a node when it registered: kept on its disk, for a restart during a run.

Speakers' numbers are those of registration. Flower keeps the list (`client.state.registered_speakers`) in the
SuperNode's memory. If that is lost, the same corpus and this count give the same list, because the record of
departures only grows. (A part of a simulation, whose state lives as long as the run, writes the count only if
a speaker has left.)

The same count is kept under the run's own id: a run that is resumed is another run of Flower's. The node then
reports as many speakers as when the run began, and those who have left since count as zero.

A run has a folder of its own, with a file for each node whose records are here: one for a SuperNode, as many
as it has parts for a simulation.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from base.durable_file import make_folder, replace_durably
from client.node_speech import is_simulated
from client.state.node_state import node_state, node_state_path
from recipes import ConfigError

FOLDER = "registrations"
KEPT = 200  # folders, two for each run, and files in a folder; a node takes part in few runs at a time
log = logging.getLogger("murmuration.client")


def note(node_config: Mapping[str, Any], run: int | str, node: int | str, left: int) -> None:
    """Write that `left` speakers had left when `node` registered for `run`.

    They are Flower's numbers, or the run's own id and the part of the corpus that the node holds.

    If it cannot be written, the log has a warning: after a restart during the run the node then trains no
    speaker.
    """
    try:
        folder = node_state(node_config) / FOLDER
        path = _path(folder, run, node)
        if not path.parent.exists():
            make_folder(path.parent, 0o700)
            _keep_newest(folder)
        replace_durably(path, f"{left}\n".encode())
        if not is_simulated(node_config):  # else there is one for each part
            _keep_newest(path.parent)
    except (ConfigError, OSError) as error:
        log.warning("after a restart during the run this node will not know its speakers: %s", error)


def noted(node_config: Mapping[str, Any], run: int | str, node: int | str) -> int | None:
    """The count that `note` wrote; None if there is none."""
    with suppress(OSError, ValueError):
        return int(_path(node_state_path(node_config) / FOLDER, run, node).read_text(encoding="utf-8"))
    return None


def _path(folder: Path, run: int | str, node: int | str) -> Path:
    """Where the count is; what a server names becomes no path."""
    if isinstance(run, str):
        return folder / f"run-{_digest(run)}" / f"{_digest(str(node))}.txt"
    return folder / f"{run}" / f"{node}.txt"


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _keep_newest(folder: Path) -> None:
    """Remove all but the `KEPT` newest files and folders; another process may do so at the same time."""
    ages = []
    for one in folder.iterdir():
        with suppress(OSError):
            ages.append((one.stat().st_mtime, one))
    for _, old in sorted(ages)[:-KEPT]:
        if old.is_dir():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.unlink(missing_ok=True)
