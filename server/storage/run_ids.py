"""The identity of a run: a random id, made with its folder and kept in everything that the run leaves.

Guarantee: which entries of the ledger are a run's follows from its checkpoint, never from a folder's name,
which anybody may change. (Runs from before there were ids are known by the name that their folder had; their
id is that name for good, once they are resumed.)
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
    """A new id, which no other run has."""
    return secrets.token_hex(16)


def run_of(checkpoint: Checkpoint, folder: Path) -> str:
    """The id of the run whose checkpoint lies in `folder`."""
    return checkpoint.run or folder.resolve().name


def folders_of_runs(runs: Path) -> dict[str, str]:
    """The names of the run folders in `runs`, by the ids of their runs."""
    found = {}
    for folder in sorted(path for path in runs.iterdir() if path.is_dir() and not path.is_symlink()):
        if (newest := RunFolder(folder).newest_checkpoint()) is not None:
            with suppress(ResumeRefused, KeyError, ValueError):  # one that cannot be read names no run
                found[run_of(load_checkpoint(newest, tensors=False), folder)] = folder.name
    return found


def short(run: str) -> str:
    """An id as people are shown it, on one line: its beginning; the name of an older run's folder whole.

    It may come from a file that others made (a seed model's lineage, a ledger).
    """
    return run[:_SHOWN] if re.fullmatch("[0-9a-f]{32}", run) else one_line(run)
