"""Checks that a ledger still has all entries that it had before.

A ledger whose end was cut off, or that was restored from an older copy, is still a valid chain. But the
checkpoints in the run folders beside it recorded its head, and `<name>.head` records its head after the
newest round.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from base.durable_file import replace_durably
from privacy import Ledger, LedgerCorrupt, LedgerEntry
from privacy.ledger.ledger import head_of
from server.errors import ResumeRefused
from server.storage.checkpoints import load_checkpoint
from server.storage.ledger_notes import HEAD
from server.storage.populations import ledger_path, name_of
from server.storage.run_folder import RunFolder

NOTHING = "0" * 64


def note_head(ledger: Ledger) -> None:
    """Write the ledger's head to the file beside it; it is on the disk when this returns."""
    replace_durably(ledger.path.with_suffix(HEAD), f"{ledger.head}\n".encode())


def require_all_seen(runs: Path, ledger: Path, entries: Sequence[LedgerEntry]) -> list[str]:
    """Refuse a ledger that lacks entries which a run folder of `runs`, or its head file, recorded.

    Returns:
        Remarks on checkpoints that cannot be read.

    Raises:
        LedgerCorrupt: Naming the files that recorded the missing entries, and the remedy.
    """
    heads = {NOTHING, head_of(entries), *(entry.previous for entry in entries)}
    recorded, remarks = _recorded_heads(runs, ledger)
    missing = [name for name, head in recorded if head not in heads]
    if missing:
        listed = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise LedgerCorrupt(
            f"{ledger} ({len(entries)} entries) lacks entries that {listed} recorded: it is an older copy, "
            "or entries were removed. Restore the newest copy (`murmur ledger restore`). Without a copy, it "
            "is not known what was spent on these speakers: a run can then start only under a new "
            f"privacy.population-name, with privacy.uncounted = {name_of(ledger)!r}, and every table and "
            "model card will report that"
        )
    return remarks


def _recorded_heads(runs: Path, ledger: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """(file, head) of all files that recorded a head of this ledger; remarks on unreadable checkpoints."""
    recorded, remarks = [], []
    if (file := ledger.with_suffix(HEAD)).is_file():
        recorded.append((file.name, file.read_text(encoding="utf-8", errors="replace").strip()))
    for folder in sorted(path for path in runs.iterdir() if path.is_dir() and not path.is_symlink()):
        newest = RunFolder(folder).newest_checkpoint()
        if newest is None:
            continue
        try:
            checkpoint = load_checkpoint(newest, tensors=False)
        except (ResumeRefused, KeyError, ValueError):
            remarks.append(
                f"{newest} cannot be read: it is not known whether the ledger has the entries it recorded"
            )
            continue
        if ledger_path(runs, checkpoint.population_name) == ledger:
            recorded.append((os.path.relpath(newest, runs), checkpoint.ledger_head))
    return recorded, remarks
