"""Does a ledger still hold all that it held before? What was seen of it earlier says so.

A ledger whose end was cut off, or that was restored from an older copy, is a whole chain. But each checkpoint
of the run folders beside it saw its head, and `<people>.head` has that of the newest round that anyone saw.
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
from server.storage.populations import HEAD, ledger_path, name_of
from server.storage.run_folder import RunFolder

NOTHING = "0" * 64


def note_head(ledger: Ledger) -> None:
    """Keep the ledger's head beside it; it is on the disk when this returns."""
    replace_durably(ledger.path.with_suffix(HEAD), f"{ledger.head}\n".encode())


def require_all_seen(runs: Path, ledger: Path, entries: Sequence[LedgerEntry]) -> list[str]:
    """Refuse a ledger of `entries` that lacks some which the run folders of `runs`, or its head file, saw.

    Returns what is to be said of checkpoints that cannot be read.

    Raises:
        LedgerCorrupt: Naming who saw the entries that are missing, and the remedy.
    """
    heads = {NOTHING, head_of(entries), *(entry.previous for entry in entries)}
    seen, remarks = _seen(runs, ledger)
    missing = [name for name, head in seen if head not in heads]
    if missing:
        listed = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise LedgerCorrupt(
            f"{ledger} ({len(entries)} entries) lacks entries that {listed} saw: it is an older copy, or "
            "entries were removed. Restore the newest copy (`murmur ledger restore`). Without one, what was "
            "spent on these people is not known: only a new privacy.people, with privacy.uncounted = "
            f"{name_of(ledger)!r}, can go on, and every table and card will say that"
        )
    return remarks


def _seen(runs: Path, ledger: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """(who, head) of all that saw this ledger, and remarks on checkpoints that cannot be read."""
    seen, remarks = [], []
    if (file := ledger.with_suffix(HEAD)).is_file():
        seen.append((file.name, file.read_text(encoding="utf-8", errors="replace").strip()))
    for folder in sorted(path for path in runs.iterdir() if path.is_dir() and not path.is_symlink()):
        newest = RunFolder(folder).newest_checkpoint()
        if newest is None:
            continue
        try:
            checkpoint = load_checkpoint(newest, tensors=False)
        except (ResumeRefused, KeyError, ValueError):
            remarks.append(f"{newest} cannot be read: whether the ledger holds what it saw is not known")
            continue
        if ledger_path(runs, checkpoint.people) == ledger:
            seen.append((os.path.relpath(newest, runs), checkpoint.ledger_head))
    return seen, remarks
