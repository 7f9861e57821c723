"""The record of everything ever released, written before it can be seen; epsilon is a function of it alone.

One JSON object a line, appended and never changed. Each entry holds a digest of itself and the SHA-256 of the
line before it, so that a damaged byte, an edit, a removal or an insertion breaks the chain. (Whole entries
cut off at the end leave a valid, shorter chain: keep `Ledger.head` elsewhere, as a checkpoint does, and
compare.) Entries name their data set, so that two runs on the same people add up.

**Spend first, release second.** `Ledger.spend` returns only when the entry has reached the disk; draw noise
after that. A crash in between wastes a round's budget and hides nothing: an entry counts whether or not a
model came of it.

**A torn last line.** If power fails during the write, the last line may lack its newline. A line that is an
intact entry but for the newline counts as spent. Any other fragment was never acknowledged: `spend` had not
returned, no noise was drawn, and the next writer cuts the fragment off, with a warning in the log.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from base.durable_file import append_durably, open_durably, read_all
from privacy.accounting.epsilon import Epsilon, Release, epsilon, merge
from privacy.errors import LedgerCorrupt
from privacy.ledger.locking import lock, require_named
from privacy.validate import whole

_CAP_FIELDS = ("cohort_cap", "population")
_NOTHING_BEFORE = "0" * 64
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """One intended release: which run, on whose data, in which round, and how private.

    ``previous`` is the SHA-256 (hex) of the line before. ``time_utc`` is an ISO 8601 day for people to read:
    the time of day would tell how long a round took, and with it how many were drawn.
    """

    sequence: int
    run: str
    dataset: str
    round: int
    release: Release
    time_utc: str
    previous: str

    def __post_init__(self) -> None:
        whole(sequence=self.sequence)
        whole(round=self.round)
        whole(1, **{"release.count": self.release.count})
        for name in ("run", "dataset", "time_utc", "previous"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise ValueError(f"Expected {name} to be a non-empty string, got {getattr(self, name)!r}.")

    def line(self) -> bytes:
        """The entry as it stands in the file, without the newline: its fields and their digest."""
        fields = {**asdict(self), "release": _release_fields(self.release)}
        return _json({**fields, "digest": _hash(_json(fields))})

    @classmethod
    def parse(cls, line: bytes) -> "LedgerEntry":
        """Read one line; ``ValueError`` or ``TypeError`` if it is no entry, byte for byte."""
        fields = json.loads(line)
        del fields["digest"]
        entry = cls(**{**fields, "release": Release(**fields["release"])})
        if entry.line() != line:
            raise ValueError("it does not match its digest")
        return entry


def read_ledger(path: Path | str) -> tuple[LedgerEntry, ...]:
    """Replay and verify a ledger without locking or changing it: for those who only look.

    Raises:
        LedgerCorrupt: naming the line at which the chain breaks.
        FileNotFoundError: if there is no such file.
    """
    return _replay(Path(path), Path(path).read_bytes())[0]


def entries_in(content: bytes, name: Path) -> tuple[LedgerEntry, ...]:
    """The verified entries of a ledger's content, of which nothing may be left over.

    Raises:
        LedgerCorrupt: naming the line at which the chain breaks, or what follows its end.
    """
    entries, intact = _replay(name, content)
    if rest := content[intact:]:
        raise LedgerCorrupt(f"{name}: {len(entries)} entries, then {len(rest)} bytes that are no entry")
    return entries


def ledger_releases(
    entries: Iterable[LedgerEntry], dataset: str | None = None, run: str | None = None
) -> tuple[Release, ...]:
    """All that was released on a data set by a run (by default any), equal releases counted together."""
    return merge(
        entry.release for entry in entries if dataset in (None, entry.dataset) and run in (None, entry.run)
    )


def contains_head(entries: Sequence[LedgerEntry], head: str) -> bool:
    """Whether a ledger of these entries once ended with ``head``."""
    return head == head_of(entries) or any(entry.previous == head for entry in entries)


def head_of(entries: Sequence[LedgerEntry]) -> str:
    """The SHA-256 (hex) of the last line: it stands for the whole ledger up to there."""
    return _hash(entries[-1].line()) if entries else _NOTHING_BEFORE


class Ledger:
    """A ledger open for writing, by one process at a time. Make it with `Ledger.open`.

    Guarantee:
        When `spend` returns, the entry is on disk; if it raises, nothing may be released and this object
        accepts no more. `epsilon` depends on the file's entries only, never on a configuration.
    """

    def __init__(self, path: Path, descriptor: int, entries: list[LedgerEntry]) -> None:
        self.path = path
        self._descriptor = descriptor
        self._entries = entries
        self._usable = True

    @classmethod
    def open(cls, path: Path | str) -> "Ledger":
        """Open or create a ledger, lock it, replay and verify it, and mend a torn last line.

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
            entries, intact = _replay(path, content)
            _mend(descriptor, path, content, intact)
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
        """The SHA-256 (hex) of the last line: it stands for the whole ledger up to now."""
        return head_of(self._entries)

    def contains(self, head: str) -> bool:
        """Whether the ledger once ended with ``head``: if not, entries were cut off, or it is another one."""
        return contains_head(self._entries, head)

    def spend(self, release: Release, *, run: str, dataset: str, round: int) -> LedgerEntry:
        """Write down a release that is about to happen, durably. Call it *before* noise is drawn.

        Args:
            release: what will be released.
            run: the run's name.
            dataset: the identity of the people whose data it is; runs that share it add up.
            round: the run's round, from 0 or 1. A round that is tried again is spent again.

        Raises:
            OSError: if the entry could not be made durable, or the file was moved or deleted since it was
                opened, so that no later run would find the entry; the release must not happen.
            ValueError: for a field that cannot be written, or on a ledger that is closed or has failed.
        """
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
        self._usable = False  # until the entry is known to be on disk, where others will look for it
        append_durably(self._descriptor, entry.line() + b"\n")
        require_named(self._descriptor, self.path)
        self._entries.append(entry)
        self._usable = True
        return entry

    def extend(self, entries: Iterable[LedgerEntry]) -> None:
        """Append the entries of a copy that goes on where this ledger ends, durably.

        Raises:
            ValueError: for an entry that does not follow.
        """
        for entry in entries:
            if not self._usable or (entry.sequence, entry.previous) != (len(self._entries), self.head):
                raise ValueError(f"Entry {entry.sequence} does not follow on the end of {self.path}.")
            self._usable = False
            append_durably(self._descriptor, entry.line() + b"\n")
            self._entries.append(entry)
            self._usable = True

    def releases(self, dataset: str | None = None, run: str | None = None) -> tuple[Release, ...]:
        """All that was released on a data set by a run (by default any), equal releases counted together."""
        return ledger_releases(self._entries, dataset, run)

    def epsilon(self, delta: float, pld: bool = True, dataset: str | None = None) -> Epsilon:
        """Epsilon of everything released so far on a data set (by default on any)."""
        return epsilon(self.releases(dataset), delta, pld)

    def close(self) -> None:
        """Release the lock; closing twice is harmless."""
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


def _json(fields: dict[str, object]) -> bytes:
    return json.dumps(fields, sort_keys=True, allow_nan=False).encode("ascii")


def _release_fields(release: Release) -> dict[str, object]:
    """A release's fields; a cap only where there is one, as ledgers were written before caps were known."""
    fields = asdict(release)
    return {name: value for name, value in fields.items() if release.cohort_cap or name not in _CAP_FIELDS}


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _holds_an_object(tail: bytes) -> bool:
    """Whether a complete entry was written here, whatever became of its newline."""
    try:
        json.JSONDecoder().raw_decode(tail.decode("latin-1"))
    except ValueError:
        return False
    except RecursionError:  # no write of ours was ever so
        return True
    return True


def _replay(path: Path, content: bytes) -> tuple[tuple[LedgerEntry, ...], int]:
    """The verified entries, and how many bytes of the file they take up."""
    entries: list[LedgerEntry] = []
    previous, intact = _NOTHING_BEFORE, 0
    for number, line in enumerate(content.split(b"\n"), start=1):
        is_tail = intact + len(line) == len(content)  # nothing, or a line whose newline is missing
        try:
            entry = LedgerEntry.parse(line)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            if is_tail and not _holds_an_object(line):  # a write that was never acknowledged
                break
            raise _corrupt(path, number, f"is no entry ({error})") from error
        if entry.previous != previous or entry.sequence != len(entries):
            raise _corrupt(path, number, "does not follow from the line before it")
        entries.append(entry)
        previous, intact = _hash(line), intact + len(line) + (not is_tail)
    return tuple(entries), intact


def _corrupt(path: Path, number: int, what: str) -> LedgerCorrupt:
    return LedgerCorrupt(
        f"{path}, line {number} {what}: the ledger was changed after it was written. Restore it from a "
        f"copy; without one, what these people's data has spent is unknown and no run may go on."
    )


def _mend(descriptor: int, path: Path, content: bytes, intact: int) -> None:
    if fragment := content[intact:]:
        _log.warning("Cut an unacknowledged write off the end of the ledger %s: %r", path, fragment)
        os.ftruncate(descriptor, intact)
        os.fsync(descriptor)
    elif content and not content.endswith(b"\n"):
        append_durably(descriptor, b"\n")
