"""The record of the speakers who have left a node for good. It only grows.

`murmur corpus leave` writes a line for each speaker into `left.jsonl` in the node's own folder
(`client.state.node_state`): the id, the time, and the digest of the corpus that had the id. The node reads
the record for every message and before every speaker. It reports no speaker in the record, sends no pseudonym
of one, and counts as zero one that a running plan draws. An id stands for the same speaker in every corpus of
the node: recordings that move or grow bring no speaker back.

Guarantee: a line is on the disk before the command confirms it, and no line ever changes. A record that
cannot be read in full is an error (`DepartureError`), never an empty record. (What follows the last newline
after a power cut was never confirmed.)
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
_REMEDY = "no speaker is trained before it can be read; restore it from a copy, or repair the line"


class DepartureError(SpeechError):
    """The record of departures cannot be read. The text stays on the node."""


@dataclass(frozen=True, kw_only=True)
class Departure:
    """One speaker who left: the id in the corpus with the digest `dataset`, and the time (ISO 8601)."""

    speaker: str
    time_utc: str
    dataset: str = ""

    def __post_init__(self) -> None:
        if not all(isinstance(value, str) for value in asdict(self).values()) or not self.speaker:
            raise ValueError("a departure needs a speaker, a time and a data set, all of them text")

    @classmethod
    def now(cls, speaker: str, dataset: str) -> Departure:
        """A departure at this moment."""
        return cls(speaker=speaker, time_utc=datetime.now(UTC).isoformat(timespec="seconds"), dataset=dataset)


class Departures:
    """The record in a node's folder; it is read again when the file has changed."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / RECORD
        self._state: tuple[int, ...] = ()
        self._entries: dict[str, Departure] = {}

    @property
    def entries(self) -> tuple[Departure, ...]:
        """Each speaker once, in the order of leaving.

        Raises:
            DepartureError: If the record cannot be read, or was there before and is gone.
        """
        self._refresh()
        return tuple(self._entries.values())

    def of(self, speaker: str) -> Departure | None:
        """This speaker's departure; None for one who has not left."""
        self._refresh()
        return self._entries.get(_form(speaker)) if self._entries else None

    def without(self, speakers: Sequence[str], first: int | None = None) -> Sequence[str]:
        """Those of `speakers` who have not left, in their order.

        With `first`, only the first `first` departures count: the answer when that number had left.
        """
        self._refresh()
        gone = set(list(self._entries)[:first])
        if not gone:
            return speakers
        return [one for one in speakers if _form(one) not in gone]

    def _refresh(self) -> None:
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
                raise DepartureError(f"{self.path}, the record of departures, is gone: {_REMEDY}") from None
        except OSError as error:
            raise DepartureError(
                f"{self.path}, the record of departures, cannot be read ({error.strerror}): {_REMEDY}; it "
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
    """Add departures to the record in `folder` (`client.state.node_state.node_state`).

    They are on the disk when this returns. A record that root makes becomes the folder's owner's, who must be
    able to read it.

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
    """The id in one form: files write the same id in several of Unicode's forms."""
    return speaker if speaker.isascii() else unicodedata.normalize("NFC", speaker)


def _line(one: Departure) -> bytes:
    return json.dumps(asdict(one)).encode() + b"\n"


def _entry(line: bytes, place: str) -> Departure:
    if (found := _whole(line)) is None:
        raise DepartureError(f"{place}: is no entry of the record of departures: {_REMEDY}")
    return found


def _whole(line: bytes) -> Departure | None:
    try:
        return Departure(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return None
