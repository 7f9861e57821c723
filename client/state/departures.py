"""Who has left this node for good: a record that only grows, which every message and every visit looks at.

`murmur corpus leave` writes a line for each speaker into `left.jsonl` in the node's own folder
(`client.state.node_state`): the id, when, and the digest of the corpus in which it was looked up. A speaker
in it is in no population that this node tells, has no pseudonym sent, and counts as zero where a running plan
draws them. An id means the same person in whatever corpus the node holds: recordings that move or grow bring
nobody back.

Guarantee: a line is on the disk before the command says so, and none is ever changed. A record that cannot
be read in full is an error (`DepartureError`), never a record of nobody; but what follows the last newline,
which a power cut left there, was never acknowledged.
"""

from __future__ import annotations

import fcntl
import json
import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from base.durable_file import append_durably, open_durably, read_all
from speech.errors import SpeechError

RECORD = "left.jsonl"
_REMEDY = "nobody is trained before it can be read; bring it back from a copy, or mend the line"


class DepartureError(SpeechError):
    """The record of who has left cannot be read; its text stays on the node."""


@dataclass(frozen=True, kw_only=True)
class Departure:
    """A speaker who left: the id as the corpus of that `dataset` (its digest) has it, and when (ISO 8601)."""

    speaker: str
    time_utc: str
    dataset: str = ""

    def __post_init__(self) -> None:
        if not all(isinstance(value, str) for value in asdict(self).values()) or not self.speaker:
            raise ValueError("a departure has a speaker, a time and a data set, all of them text")

    @classmethod
    def now(cls, speaker: str, dataset: str) -> Departure:
        """One that happens now."""
        return cls(speaker=speaker, time_utc=datetime.now(UTC).isoformat(timespec="seconds"), dataset=dataset)


class Departures:
    """The record in a node's folder, read again whenever it has changed."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / RECORD
        self._state: tuple[int, ...] = ()
        self._entries: dict[str, Departure] = {}

    @property
    def entries(self) -> tuple[Departure, ...]:
        """Everybody once, in the order of leaving.

        Raises:
            DepartureError: If the record cannot be read, or has gone away since it was read.
        """
        self._look()
        return tuple(self._entries.values())

    def of(self, speaker: str) -> Departure | None:
        """When this speaker left; None for one who has not."""
        self._look()
        return self._entries.get(_form(speaker)) if self._entries else None

    def without(self, speakers: Sequence[str], first: int | None = None) -> Sequence[str]:
        """Those of `speakers` who have not left, in their order; or, as it was when `first` people had."""
        self._look()
        gone = set(list(self._entries)[:first])
        if not gone:
            return speakers
        return [one for one in speakers if _form(one) not in gone]

    def _look(self) -> None:
        try:
            stat = self.path.stat()
            state = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
            if state != self._state:
                entries: dict[str, Departure] = {}
                for one in self._read():
                    entries.setdefault(_form(one.speaker), one)
                self._entries, self._state = entries, state
        except FileNotFoundError:
            if self._state:
                raise DepartureError(f"{self.path}, the record of who has left, is gone: {_REMEDY}") from None
        except OSError as error:
            raise DepartureError(
                f"{self.path}, the record of who has left, cannot be read ({error.strerror}): {_REMEDY}; it "
                "must belong to the user of the ClientApp"
            ) from None

    def _read(self) -> list[Departure]:
        content = self.path.read_bytes()
        lines = content.split(b"\n")
        found = [_entry(line, f"{self.path}:{number}") for number, line in enumerate(lines[:-1], 1) if line]
        if lines[-1] and (last := _whole(lines[-1])) is not None:
            found.append(last)
        return found


def record(folder: Path, departures: Iterable[Departure]) -> None:
    """Add to the record in `folder` (`client.state.node_state.node_state`); it is on the disk when this
    returns.

    A record made by root becomes that of the folder's owner, who must be able to read it.

    Raises:
        DepartureError: If the record there cannot be read.
        OSError: If it cannot be written.
    """
    path = folder / RECORD
    descriptor = open_durably(path, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        content = read_all(descriptor)
        known = Departures(folder)
        lines = [_line(one) for one in departures if known.of(one.speaker) is None]
        os.fchmod(descriptor, 0o600)
        if os.geteuid() == 0:
            owner = folder.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        if torn := content[content.rfind(b"\n") + 1 :]:
            whole = _whole(torn)
            os.ftruncate(descriptor, len(content) - len(torn))
            lines = [*([_line(whole)] if whole else []), *lines]
        append_durably(descriptor, b"".join(lines))
    finally:
        os.close(descriptor)


def _form(speaker: str) -> str:
    """One id is one person, whichever of Unicode's forms a file has it in."""
    return speaker if speaker.isascii() else unicodedata.normalize("NFC", speaker)


def _line(one: Departure) -> bytes:
    return json.dumps(asdict(one)).encode() + b"\n"


def _entry(line: bytes, place: str) -> Departure:
    if (found := _whole(line)) is None:
        raise DepartureError(f"{place}: is no entry of the record of who has left: {_REMEDY}")
    return found


def _whole(line: bytes) -> Departure | None:
    try:
        return Departure(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return None
