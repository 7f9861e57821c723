"""A ledger as one file to keep elsewhere, and back again: a copy never takes the place of what knows more.

A copy is a tar archive of the ledger and of what is noted beside it about its people
(`server.storage.populations`); a plain copy of the ledger's file can be restored too.

Guarantee: `restore` only ever adds entries. A ledger that holds more than the copy, or other entries, stays
as it is and is an error. A damaged one is put aside, not deleted, and only for a copy that reaches as far.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from base.durable_file import replace_durably
from privacy import Ledger, LedgerCorrupt, LedgerEntry
from privacy.ledger.ledger import contains_head, entries_in, head_of
from server.storage.populations import SPEAKERS, SPEECH, add_notes, notes_in

LEDGER = ".jsonl"
_MODES = {LEDGER: 0o644, SPEECH: 0o644, SPEAKERS: 0o600}


def back_up(ledger: Path, copy: Path) -> int:
    """Write a copy of `ledger`, durably; returns how many entries it has.

    Raises:
        LedgerCorrupt: If the chain is broken, or the file ends with what is no entry.
        FileExistsError: If there is a file `copy` already.
    """
    if copy.exists():
        raise FileExistsError(f"{copy} is there already: give the copy a name of its own")
    content = ledger.read_bytes()  # once: a run may be adding to it
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
    """Bring `ledger` to what `copy` holds; returns in a sentence what was done.

    Raises:
        LedgerCorrupt: If the copy's chain is broken, or `ledger` holds more than it, or other entries.
        LedgerInUse: If a run has the ledger open.
    """
    files = _read(copy)
    entries = entries_in(files[LEDGER], copy)
    notes = {suffix: notes_in(files.get(suffix, b""), copy) for suffix in (SPEECH, SPEAKERS)}
    put_aside = _put_damaged_aside(ledger, entries, copy)
    with Ledger.open(ledger) as there:
        before = len(there.entries)
        if there.head != head_of(entries) and there.contains(head_of(entries)):
            raise LedgerCorrupt(
                f"{ledger} has {before} entries, {copy} only the first {len(entries)} of them: the copy is "
                "older, and to restore it would hide what was spent since"
            )
        if not contains_head(entries, there.head):
            raise LedgerCorrupt(
                f"{ledger} ({before} entries) and {copy} ({len(entries)}) are not one chain: both were "
                "written after the copy was made, or they are ledgers of other people. What both hold is "
                "spent: keep both, under two names, and let privacy.uncounted name the one that is left"
            )
        there.extend(entries[before:])
    for suffix, known in notes.items():
        add_notes(ledger, suffix, known, _MODES[suffix])
    return f"{ledger}: {len(entries) - before} entries added, {len(entries)} in all{put_aside}"


def _put_damaged_aside(ledger: Path, entries: Sequence[LedgerEntry], copy: Path) -> str:
    """Make room for a copy where the ledger's chain is broken; says so."""
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
            "older. Restore a newer one, or else move the damaged file away: what these people have spent is "
            "then not known"
        )
    aside = next(path for n in range(1, 1000) if not (path := ledger.with_suffix(f".damaged-{n}")).exists())
    ledger.rename(aside)
    return f"; the damaged one is {aside.name}"


def _archive(name: str, files: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for suffix, content in files.items():
            member = tarfile.TarInfo(f"{name}{suffix}")
            member.size, member.mode = len(content), _MODES[suffix]
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def _read(copy: Path) -> dict[str, bytes]:
    """What an archive, or a plain copy of a ledger, holds, by suffix; nothing is unpacked to a path."""
    if not tarfile.is_tarfile(copy):
        return {LEDGER: copy.read_bytes()}
    files: dict[str, bytes] = {}
    with tarfile.open(copy) as archive:
        for member in archive:
            suffix = Path(member.name).suffix
            if member.isfile() and suffix in _MODES and (file := archive.extractfile(member)) is not None:
                files[suffix] = file.read()
    if LEDGER not in files:
        raise LedgerCorrupt(f"{copy} holds no ledger: give a file that `murmur ledger backup` wrote")
    return files
