"""Entries of a ledger, and the check of their chain.

Each entry is one JSON object on a line of its own. It holds a digest of itself and the SHA-256 of the line
before. So a damaged byte, an edit, a removed entry or an inserted entry breaks the chain.

Guarantee (`read_ledger`, `entries_in`): what they return is an unbroken chain from the first entry on.
Entries that were cut off at the end leave a shorter, valid chain: keep `head_of` elsewhere, as a checkpoint
does, and compare.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from privacy.accounting.epsilon import Release, merge
from privacy.errors import LedgerCorrupt
from privacy.validate import whole

_CAP_FIELDS = ("cohort_cap", "population")
_NOTHING_BEFORE = "0" * 64


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """One intended release: of which run, on which data set, in which round, and how private.

    Args:
        sequence: the entry's place in the ledger, from 0.
        run: the run's name.
        dataset: the identity of the population; runs that share it add up.
        round: the run's round.
        release: what is released.
        time_utc: an ISO 8601 day, for readers. A time of day would show how long a round took, and so how
            many speakers were drawn.
        previous: the SHA-256 (hex) of the line before; 64 zeros for the first entry.

    Raises:
        ValueError: for a value out of range or an empty string.

    Example:
        >>> entry = LedgerEntry(sequence=0, run="first", dataset="ward-7", round=1, time_utc="2026-05-04",
        ...     release=Release(sampling_rate=0.01, noise_multiplier=1.0), previous="0" * 64)
        >>> LedgerEntry.parse(entry.line()) == entry
        True
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
        """The entry's line in the file, without the newline: its fields and their digest."""
        fields = {**asdict(self), "release": _release_fields(self.release)}
        return _json({**fields, "digest": _hash(_json(fields))})

    @classmethod
    def parse(cls, line: bytes) -> "LedgerEntry":
        """Read one line.

        Raises:
            ValueError: if it is not an entry, byte for byte.
            TypeError: if its fields are not those of an entry.
            KeyError: if a field is missing.
        """
        fields = json.loads(line)
        del fields["digest"]
        entry = cls(**{**fields, "release": Release(**fields["release"])})
        if entry.line() != line:
            raise ValueError("it does not match its digest")
        return entry


def read_ledger(path: Path | str) -> tuple[LedgerEntry, ...]:
    """Read and verify a ledger without locking or changing it.

    Raises:
        LedgerCorrupt: naming the line at which the chain breaks.
        FileNotFoundError: if there is no such file.
    """
    return replay(Path(path), Path(path).read_bytes())[0]


def entries_in(content: bytes, name: Path) -> tuple[LedgerEntry, ...]:
    """The verified entries of a ledger's content. Nothing may follow the last entry.

    Args:
        content: the bytes of the file.
        name: the file's path, for messages.

    Raises:
        LedgerCorrupt: naming the line at which the chain breaks, or the bytes after its end.
    """
    entries, intact = replay(name, content)
    if rest := content[intact:]:
        raise LedgerCorrupt(f"{name}: {len(entries)} entries, then {len(rest)} bytes that are no entry")
    return entries


def ledger_releases(
    entries: Iterable[LedgerEntry], dataset: str | None = None, run: str | None = None
) -> tuple[Release, ...]:
    """All releases on a data set by a run (default: on any, by any), equal releases counted together."""
    return merge(
        entry.release for entry in entries if dataset in (None, entry.dataset) and run in (None, entry.run)
    )


def contains_head(entries: Sequence[LedgerEntry], head: str) -> bool:
    """Whether ``head`` was once the head of the ledger of these entries."""
    return head == head_of(entries) or any(entry.previous == head for entry in entries)


def head_of(entries: Sequence[LedgerEntry]) -> str:
    """The SHA-256 (hex) of the last line. It identifies the whole ledger up to that line."""
    return _hash(entries[-1].line()) if entries else _NOTHING_BEFORE


def replay(path: Path, content: bytes) -> tuple[tuple[LedgerEntry, ...], int]:
    """The verified entries of a ledger's content, and the number of bytes that they take.

    A last line without its newline counts if it is an intact entry. Any other fragment at the end was never
    acknowledged to the writer, and is left out.

    Raises:
        LedgerCorrupt: naming the line at which the chain breaks.
    """
    entries: list[LedgerEntry] = []
    previous, intact = _NOTHING_BEFORE, 0
    for number, line in enumerate(content.split(b"\n"), start=1):
        is_tail = intact + len(line) == len(content)  # empty, or a line without its newline
        try:
            entry = LedgerEntry.parse(line)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            if is_tail and not _holds_an_object(line):  # a write that was never acknowledged
                break
            raise _corrupt(path, number, f"is not an entry ({error})") from error
        if entry.previous != previous or entry.sequence != len(entries):
            raise _corrupt(path, number, "does not follow from the line before it")
        entries.append(entry)
        previous, intact = _hash(line), intact + len(line) + (not is_tail)
    return tuple(entries), intact


def _json(fields: dict[str, object]) -> bytes:
    return json.dumps(fields, sort_keys=True, allow_nan=False).encode("ascii")


def _release_fields(release: Release) -> dict[str, object]:
    """A release's fields. Those of a cap only with a cap: older ledgers were written without them."""
    fields = asdict(release)
    return {name: value for name, value in fields.items() if release.cohort_cap or name not in _CAP_FIELDS}


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _holds_an_object(tail: bytes) -> bool:
    """Whether a complete JSON object was written here, with or without its newline."""
    try:
        json.JSONDecoder().raw_decode(tail.decode("latin-1"))
    except ValueError:
        return False
    except RecursionError:  # we never write such a line
        return True
    return True


def _corrupt(path: Path, number: int, what: str) -> LedgerCorrupt:
    return LedgerCorrupt(
        f"{path}, line {number} {what}: the ledger was changed after it was written. Restore it from a "
        f"copy. Without a copy, the spending on this population's data is unknown, and no run may continue."
    )
