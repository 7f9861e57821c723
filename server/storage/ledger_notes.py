"""The notes beside a ledger: text files that list, line by line, what is known about its releases.

Guarantee: notes are only ever added, and a damaged file is an error, never an empty list.
"""

from __future__ import annotations

import os
from collections.abc import Set
from pathlib import Path

from base.durable_file import append_durably, open_durably

SPEECH = ".speech"  # digests of the corpora
SPEAKERS = ".speakers"  # pseudonyms of the speakers
HEAD = ".head"  # the ledger's head after the newest round
SYNTHETIC = ".synthetic"  # exists if all speakers are synthetic


def notes_of(ledger: Path, suffix: str) -> set[str]:
    """Return the notes of one kind beside `ledger`; raises as `parse_notes`."""
    file = ledger.with_suffix(suffix)
    return parse_notes(file.read_bytes(), file) if file.exists() else set()


def parse_notes(content: bytes, name: Path) -> set[str]:
    """Return the notes in the content of a file called `name`.

    Raises:
        LedgerCorrupt: If it is not text. To ignore an unreadable part could let the spending of some speakers
            start from zero.
    """
    try:
        return set(content.decode().split())
    except UnicodeDecodeError as error:
        from privacy import LedgerCorrupt  # imported here because the package loads torch

        line = content[: error.start].count(b"\n") + 1
        raise LedgerCorrupt(
            f"{name}:{line} is damaged. This file lists whose releases the ledger beside it holds. Move the "
            "file away and restore it with a copy of the ledger (`murmur ledger restore`); without a copy, "
            "remove from that line what is not text"
        ) from None


def add_notes(ledger: Path, suffix: str, notes: Set[str], mode: int) -> None:
    """Append each new note as a line; they are on the disk when this returns.

    Each line begins with its newline, so that a line torn by a crash does not damage the next one.

    Args:
        ledger: The ledger beside which the file lies.
        suffix: The kind of notes.
        notes: The notes; those that the file already has are not added.
        mode: Permissions of a new file.
    """
    if not (new := notes - notes_of(ledger, suffix)):
        return
    descriptor = open_durably(ledger.with_suffix(suffix), mode)
    try:
        append_durably(descriptor, "".join(f"\n{one}" for one in sorted(new)).encode())
    finally:
        os.close(descriptor)
