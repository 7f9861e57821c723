"""The identity of a run: a random id, made with its folder and written to every file that the run leaves.

Guarantee: the checkpoint decides which entries of a ledger belong to a run; the name of the folder, which
anyone may change, does not. (A run from a release without ids has the name of its folder as its id. Once it
is resumed, it keeps this id, whatever the folder is called later.)
"""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from pathlib import Path

from base.printable_text import one_line
from server.errors import ResumeRefused
from server.storage.checkpoints import Checkpoint, load_checkpoint
from server.storage.run_folder import RunFolder

_SHOWN = 8


def fresh_run_id() -> str:
    """Return a new id, which no other run has."""
    return secrets.token_hex(16)


def run_of(checkpoint: Checkpoint, folder: Path) -> str:
    """Return the id of the run whose checkpoint lies in `folder`."""
    return checkpoint.run or folder.resolve().name


def folders_of_runs(runs: Path) -> dict[str, str]:
    """Return the names of the run folders in `runs`, by the ids of their runs."""
    found = {}
    for folder in sorted(path for path in runs.iterdir() if path.is_dir() and not path.is_symlink()):
        if (newest := RunFolder(folder).newest_checkpoint()) is not None:
            with suppress(ResumeRefused, KeyError, ValueError):  # an unreadable checkpoint gives no id
                found[run_of(load_checkpoint(newest, tensors=False), folder)] = folder.name
    return found


def short(run: str) -> str:
    """Return an id as it is printed, on one line: its first digits; the id of an older run as a whole.

    The id may come from a file that others made (the lineage of a seed model, a ledger).
    """
    return run[:_SHOWN] if re.fullmatch("[0-9a-f]{32}", run) else one_line(run)
