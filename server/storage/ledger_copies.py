"""Copies of a ledger in one file, to keep on another disk, and how a ledger is restored from them.

A copy is a tar archive of the ledger and of the notes beside it (`server.storage.ledger_notes`). A plain copy
of the ledger's file can be restored too.

Guarantee: `restore` only adds entries. A ledger that has more entries than the copy, or other ones, is not
changed, and this is an error. A damaged ledger is renamed, not deleted, and only if the copy has at least as
many entries as the ledger has lines.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from base.durable_file import replace_durably
from privacy import Ledger, LedgerCorrupt, LedgerEntry
from privacy.ledger.ledger import contains_head, entries_in, head_of
from server.storage.ledger_notes import SPEAKERS, SPEECH, add_notes, parse_notes

LEDGER = ".jsonl"
_MODES = {LEDGER: 0o644, SPEECH: 0o644, SPEAKERS: 0o600}


def back_up(ledger: Path, copy: Path) -> int:
    """Write a copy of `ledger`, durably; return the number of its entries.

    Raises:
        LedgerCorrupt: If the chain is broken, or the end of the file is not an entry.
        FileExistsError: If the file `copy` exists.
    """
    if copy.exists():
        raise FileExistsError(f"{copy} exists: choose another name for the copy")
    content = ledger.read_bytes()  # read once: a run may append meanwhile
    entries = entries_in(content, ledger)
    whole = b"".join(entry.line() + b"\n" for entry in entries)
    files = {LEDGER: whole}
    for suffix in (SPEECH, SPEAKERS):
        if (beside := ledger.with_suffix(suffix)).is_file():
            files[suffix] = beside.read_bytes()
    replace_durably(copy, _archive(ledger.stem, files))
    copy.chmod(0o600)
    return len(entries)


def restore(ledger: Path, copy: Path) -> str:
    """Add to `ledger` the entries of `copy` that it lacks; return a sentence that reports what was done.

    Raises:
        LedgerCorrupt: If the chain of the copy is broken, or `ledger` has more entries or other ones.
        LedgerInUse: If a run has the ledger open.
    """
    files = _read(copy)
    entries = entries_in(files[LEDGER], copy)
    notes = {suffix: parse_notes(files.get(suffix, b""), copy) for suffix in (SPEECH, SPEAKERS)}
    put_aside = _put_damaged_aside(ledger, entries, copy)
    with Ledger.open(ledger) as there:
        before = len(there.entries)
        if there.head != head_of(entries) and there.contains(head_of(entries)):
            raise LedgerCorrupt(
                f"{ledger} has {before} entries, {copy} has only the first {len(entries)} of them: the copy "
                "is older, and to restore it would hide what was spent later"
            )
        if not contains_head(entries, there.head):
            raise LedgerCorrupt(
                f"{ledger} ({before} entries) and {copy} ({len(entries)}) are not one chain: both were "
                "written after the copy was made, or they are ledgers of different populations. The releases "
                "in both are spent: keep both files, under two names, continue one of them, and name the "
                "other in privacy.uncounted"
            )
        there.extend(entries[before:])
    for suffix, known in notes.items():
        add_notes(ledger, suffix, known, _MODES[suffix])
    return f"{ledger}: {len(entries) - before} entries added, {len(entries)} in all{put_aside}"


def _put_damaged_aside(ledger: Path, entries: Sequence[LedgerEntry], copy: Path) -> str:
    """Rename a ledger whose chain is broken; return the words that report it."""
    if not ledger.exists():
        return ""
    content = ledger.read_bytes()
    try:
        entries_in(content, ledger)
        return ""
    except LedgerCorrupt:
        lines = content.count(b"\n") + (not content.endswith(b"\n"))
    if lines > len(entries):
        raise LedgerCorrupt(
            f"{ledger} is damaged and has {lines} lines, {copy} has {len(entries)} entries: the copy is "
            "older. Restore a newer copy. Without one, move the damaged file away; it is then not known what "
            "was spent on these speakers"
        )
    aside = next(path for n in range(1, 1000) if not (path := ledger.with_suffix(f".damaged-{n}")).exists())
    ledger.rename(aside)
    return f"; the damaged ledger is now {aside.name}"


def _archive(name: str, files: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for suffix, content in files.items():
            member = tarfile.TarInfo(f"{name}{suffix}")
            member.size, member.mode = len(content), _MODES[suffix]
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def _read(copy: Path) -> dict[str, bytes]:
    """Return the files of an archive, or of a ledger's plain copy, by suffix; nothing is unpacked to disk."""
    if not tarfile.is_tarfile(copy):
        return {LEDGER: copy.read_bytes()}
    files: dict[str, bytes] = {}
    with tarfile.open(copy) as archive:
        for member in archive:
            suffix = Path(member.name).suffix
            if member.isfile() and suffix in _MODES and (file := archive.extractfile(member)) is not None:
                files[suffix] = file.read()
    if LEDGER not in files:
        raise LedgerCorrupt(f"{copy} contains no ledger: give a file that `murmur ledger backup` wrote")
    return files
