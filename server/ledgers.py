"""Where ledgers lie: one for each data set, shared by all runs of a runs folder.

`<runs folder>/ledgers/<data set>.jsonl` holds every release of every run on those people, so that "their
epsilon over all runs" is a function of one file, and a budget counts all of it. A run folder's
`ledger.jsonl` is a link to it; the entries of one run carry its folder's name. The file is locked while a
run has it open: a second run on the same people at the same time is refused (`LedgerInUse`).

What is one data set? By default its digest: the same speakers, utterances and transcripts, wherever they
lie and however they are spread over nodes. A corpus that gains or loses a recording has another digest,
although the people are the same; name them once and for all with `privacy.people` where that can happen.
Runs of another runs folder are not counted: keep one runs folder for the same people.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from privacy import Ledger, Release

FOLDER = "ledgers"
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


def ledger_path(runs: Path, people: str) -> Path:
    """The ledger of a data set's digest, or of a name, within a runs folder."""
    # Nodes send the digest: what is no plain name must not become a path.
    name = people if _PLAIN.fullmatch(people) else hashlib.sha256(people.encode()).hexdigest()
    return runs / FOLDER / f"{name}.jsonl"


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
