"""The record of all releases, written before a release can be seen. Epsilon is a function of it alone.

The file has one entry a line (`privacy.ledger.entries`). Entries are appended and never changed. They name
their data set, so that two runs on the same population add up.

**Spend first, release second.** `Ledger.spend` returns only when the entry is on the disk; draw noise after
that. A crash in between wastes a round's budget and hides nothing: an entry counts whether or not a model
resulted from it.

**A torn last line.** If power fails during the write, the last line may lack its newline. A line that is an
intact entry except for the newline counts as spent. Any other fragment was never acknowledged: `spend` had
not returned, and no noise was drawn. The next writer removes the fragment, with a warning in the log.
"""

import logging
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from base.durable_file import append_durably, open_durably, read_all, truncate_durably
from privacy.accounting.epsilon import Epsilon, Release, epsilon
from privacy.errors import UnaccountedMechanism
from privacy.ledger.entries import (
    LedgerEntry,
    contains_head,
    entries_in,
    head_of,
    ledger_releases,
    read_ledger,
    replay,
)
from privacy.ledger.locking import lock, require_named

__all__ = [
    "Ledger",
    "LedgerEntry",
    "contains_head",
    "entries_in",
    "head_of",
    "ledger_releases",
    "read_ledger",
]

_log = logging.getLogger(__name__)


class Ledger:
    """A ledger that is open for writing, by one process at a time. Make it with `Ledger.open`.

    Guarantee:
        When `spend` returns, the entry is on disk. If it raises, nothing may be released, and this object
        accepts no more entries. `epsilon` depends on the file's entries only, never on a configuration.
        What declares no accounting event (no `Release`) is refused before anything is written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, Ledger.open(f"{folder}/ledger.jsonl") as ledger:
        ...     release = Release(sampling_rate=0.01, noise_multiplier=1.0)
        ...     entry = ledger.spend(release, run="first", dataset="ward-7", round=1)
        ...     print(entry.sequence, round(ledger.epsilon(delta=1e-6, pld=False).value, 2))
        0 1.21
    """

    def __init__(self, path: Path, descriptor: int, entries: list[LedgerEntry]) -> None:
        self.path = path
        self._descriptor = descriptor
        self._entries = entries
        self._usable = True

    @classmethod
    def open(cls, path: Path | str) -> "Ledger":
        """Open or create a ledger, lock it, read and verify it, and repair a torn last line.

        Raises:
            LedgerCorrupt: naming the line at which the chain breaks.
            LedgerInUse: if another process, or this one, has it open already.
        """
        path = Path(path)
        descriptor = open_durably(path)
        try:
            lock(descriptor, path)
            require_named(descriptor, path)
            content = read_all(descriptor)
            entries, intact = replay(path, content)
            _repair(descriptor, path, content, intact)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(path, descriptor, list(entries))

    @property
    def entries(self) -> tuple[LedgerEntry, ...]:
        """Every entry, oldest first."""
        return tuple(self._entries)

    @property
    def head(self) -> str:
        """The SHA-256 (hex) of the last line. It identifies the whole ledger up to now."""
        return head_of(self._entries)

    def contains(self, head: str) -> bool:
        """Whether ``head`` was once the head here. If not, entries are missing, or it is another ledger."""
        return contains_head(self._entries, head)

    def spend(self, release: Release, *, run: str, dataset: str, round: int) -> LedgerEntry:
        """Write an entry for a release, durably. Call it *before* noise is drawn.

        Args:
            release: what will be released: the accounting event that the mechanism declares.
            run: the run's name.
            dataset: the identity of the population whose data is used; runs that share it add up.
            round: the run's round, from 0 or 1. A round that is tried again is spent again.

        Raises:
            UnaccountedMechanism: if ``release`` is not a `Release`; nothing is written.
            OSError: if the entry could not be made durable, or if the file was moved or deleted since it was
                opened, so that no later run would find the entry. The release must not happen.
            ValueError: for a field that cannot be written, or on a ledger that is closed or has failed.
        """
        if type(release) is not Release:  # a subclass might be written with fields that nobody can read back
            raise UnaccountedMechanism(
                f"The ledger {self.path} takes a Release, got {release!r}: a mechanism that declares no "
                "accounting event may release nothing."
            )
        if not self._usable:
            raise ValueError(f"The ledger {self.path} is closed or a write failed: open it again.")
        entry = LedgerEntry(
            sequence=len(self._entries),
            run=run,
            dataset=dataset,
            round=round,
            release=release,
            time_utc=datetime.now(UTC).date().isoformat(),
            previous=self.head,
        )
        self._usable = False  # until the entry is on disk, in the file that others will read
        append_durably(self._descriptor, entry.line() + b"\n")
        require_named(self._descriptor, self.path)
        self._entries.append(entry)
        self._usable = True
        return entry

    def extend(self, entries: Iterable[LedgerEntry]) -> None:
        """Append the entries of a copy that continues where this ledger ends, durably.

        Raises:
            ValueError: for an entry that does not follow.
        """
        for entry in entries:
            if not self._usable or (entry.sequence, entry.previous) != (len(self._entries), self.head):
                raise ValueError(f"Entry {entry.sequence} does not follow the last entry of {self.path}.")
            self._usable = False
            append_durably(self._descriptor, entry.line() + b"\n")
            self._entries.append(entry)
            self._usable = True

    def releases(self, dataset: str | None = None, run: str | None = None) -> tuple[Release, ...]:
        """All releases on a data set by a run (default: on any, by any), equal releases counted together."""
        return ledger_releases(self._entries, dataset, run)

    def epsilon(self, delta: float, pld: bool = True, dataset: str | None = None) -> Epsilon:
        """Epsilon of all releases so far on a data set (default: on any)."""
        return epsilon(self.releases(dataset), delta, pld)

    def close(self) -> None:
        """Release the lock. A second call does nothing."""
        self._usable = False
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _repair(descriptor: int, path: Path, content: bytes, intact: int) -> None:
    """Remove a fragment after the last entry, or add the newline that the last entry lacks."""
    if fragment := content[intact:]:
        _log.warning("Removed an unacknowledged write from the end of the ledger %s: %r", path, fragment)
        truncate_durably(descriptor, intact)
    elif content and not content.endswith(b"\n"):
        append_durably(descriptor, b"\n")
