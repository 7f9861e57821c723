"""How many people had left a node when it answered a run's roll call: on its disk, for a restart in mid-run.

Numbers of speakers are those of the roll call. Flower keeps who they were
(`client.state.registered_speakers`) in the SuperNode's memory; where that is lost, the same speech and this
count tell it again, since the record of who has left only grows. (A part of a simulation, whose state lives
as long as the run, notes it only where somebody left.)
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from base.durable_file import replace_durably
from client.state.node_state import node_state, node_state_path
from recipes import ConfigError

FOLDER = "rolls"
KEPT = 100  # runs; a node takes part in few at a time
log = logging.getLogger("murmuration.client")


def note(node_config: Mapping[str, Any], run: int, node: int, left: int) -> None:
    """Remember that `left` people had left as `node` answered the roll call of Flower's run `run`.

    Where it cannot be written the log says so: after a restart in mid-run the node then trains nobody.
    """
    try:
        folder = node_state(node_config) / FOLDER
        folder.mkdir(exist_ok=True, mode=0o700)
        replace_durably(_place(folder, run, node), f"{left}\n".encode())
        for old in sorted(folder.glob("*.txt"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
            old.unlink(missing_ok=True)
    except (ConfigError, OSError) as error:
        log.warning("after a restart in mid-run this node will not know its speakers: %s", error)


def noted(node_config: Mapping[str, Any], run: int, node: int) -> int | None:
    """How many that were; None if nothing was noted."""
    with suppress(OSError, ValueError):
        return int(_place(node_state_path(node_config) / FOLDER, run, node).read_text(encoding="utf-8"))
    return None


def _place(folder: Path, run: int, node: int) -> Path:
    return folder / f"{run}-{node}.txt"
