"""Where ledgers lie: one for each data set, shared by all runs of a runs folder.

`<runs folder>/ledgers/<data set>.jsonl` holds every release of every run on those people, so that "their
epsilon over all runs" is a function of one file, and a budget counts all of it. A run folder's
`ledger.jsonl` is a link to it; the entries of one run carry its folder's name. The file is locked while a
run has it open: a second run on the same people at the same time is refused (`LedgerInUse`).

What is one data set? By default the digests of the corpora of all nodes: the same speakers, utterances and
transcripts, wherever they lie. With a node more or fewer it is another one, although most people are the
same: `<data set>.speech` has the digests, so that a run on a part of them is not begun with nothing spent
(`ConfigError`) but goes on in the old ledger, once `privacy.people` names it. A corpus that gains or loses a
recording has another digest, which nothing here can see: name its people once and for all with
`privacy.people` where that can happen.
Runs of another runs folder are not counted: keep one runs folder for the same people.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from privacy import Ledger, Release
from privacy.durable_file import append_durably, open_durably
from recipes import ConfigError

FOLDER = "ledgers"
SPEECH = ".speech"
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


def ledger_path(runs: Path, people: str) -> Path:
    """The ledger of a data set's digest, or of a name, within a runs folder."""
    return runs / FOLDER / f"{_plain(people)}.jsonl"


def _plain(people: str) -> str:
    """Nodes send the digest: what is no plain name must not become a path, or several lines."""
    return people if _PLAIN.fullmatch(people) else hashlib.sha256(people.encode()).hexdigest()


def same_speech(ledger: Path, digests: Collection[str]) -> list[Path]:
    """Other ledgers beside `ledger` that hold releases of the speech with one of these digests."""
    others = (path for path in ledger.parent.glob("*.jsonl") if path != ledger and path.stat().st_size)
    return sorted(path for path in others if not _speech_of(path).isdisjoint(map(_plain, digests)))


def note_speech(ledger: Path, digests: Collection[str]) -> None:
    """Add to what is known of whose releases `ledger` holds; it is on the disk when this returns."""
    if new := sorted(set(map(_plain, digests)) - _speech_of(ledger)):
        descriptor = open_durably(ledger.with_suffix(SPEECH))
        try:
            append_durably(descriptor, "".join(f"\n{digest}" for digest in new).encode())
        finally:
            os.close(descriptor)


def require_one_ledger(ledger: Path, digests: Collection[str]) -> None:
    """Raise `ConfigError` if what was spent on a part of this speech stands in another ledger than this."""
    if others := same_speech(ledger, digests):
        first, *more = (path.stem for path in others)
        raise ConfigError(
            f"privacy.people: earlier runs have spent on some of these nodes' people, in {others[0]}, and "
            "with other nodes beside them this run would begin with nothing spent. Set "
            f"privacy.people = {first!r}, now and from now on, to go on in that ledger"
            + (f" ({', '.join(more)} too: what stands in those is then not counted)" if more else "")
        )


def uncounted(ledger: Path, digests: Collection[str]) -> list[str]:
    """What is to be said of other ledgers that a run with a `privacy.people` leaves aside."""
    return [
        f"earlier runs have also spent on some of these people in {other}: no epsilon here counts it"
        for other in same_speech(ledger, digests)
    ]


def _speech_of(ledger: Path) -> set[str]:
    """A ledger that is named by a digest is that of its speech."""
    file = ledger.with_suffix(SPEECH)
    return {ledger.stem, *(file.read_text(encoding="utf-8").split() if file.exists() else ())}


def link_ledger(link: Path, ledger: Path) -> None:
    """Let `link` point at `ledger`, relatively, so that the runs folder can be moved as a whole."""
    if not link.is_symlink():
        link.symlink_to(os.path.relpath(ledger, link.parent))


@dataclass(frozen=True, kw_only=True)
class Account:
    """One run's part of the ledger, and all of it: both follow from the ledger's entries alone."""

    ledger: Ledger
    people: str
    run: str

    @property
    def own(self) -> tuple[Release, ...]:
        """What this run has released, whatever became of it."""
        return self.ledger.releases(self.people, self.run)

    @property
    def everything(self) -> tuple[Release, ...]:
        """What any run ever released on these people: what a budget counts."""
        return self.ledger.releases(self.people)

    @property
    def releases(self) -> int:
        """How many releases this run has made."""
        return _count(self.own)

    @property
    def others(self) -> int:
        """How many releases other runs have made on the same people."""
        return _count(self.everything) - self.releases


def _count(releases: Iterable[Release]) -> int:
    return sum(release.count for release in releases)
