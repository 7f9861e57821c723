"""One run's part of a ledger, and all of it: every epsilon that is shown follows from these.

A run folder's `ledger.jsonl` is a link to the ledger of its people (`server.storage.populations`); the
entries of one run carry its id. The file is locked while a run has it open: a second run on the same people
at the same time is refused (`LedgerInUse`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from privacy import (
    Ledger,
    LedgerCorrupt,
    LedgerEntry,
    PrivacyPlan,
    Release,
    SpendingUnknown,
    ledger_releases,
)
from privacy.accounting.epsilon import merge
from privacy.ledger.lineage import Lineage, inherited_releases, not_in_ledger


def link_ledger(link: Path, ledger: Path) -> None:
    """Let `link` point at `ledger`, relatively, so that the runs folder can be moved as a whole."""
    if not link.is_symlink():
        link.symlink_to(os.path.relpath(ledger, link.parent))


@dataclass(frozen=True, kw_only=True)
class Account:
    """What a run has released, and what else counts: it follows from the ledger and the seed's lineage."""

    ledger: Ledger
    people: str
    run: str
    lineage: Lineage = ()

    @property
    def own(self) -> tuple[Release, ...]:
        """What this run has released, whatever became of it."""
        return self.ledger.releases(self.people, self.run)

    @property
    def of_model(self) -> tuple[Release, ...]:
        """What the run's model was made from: this run's releases and those of its seed's runs."""
        return merge((*self.own, *inherited_releases(self.lineage)))

    @property
    def inherited(self) -> int:
        """How many releases the seed's runs had made."""
        return count(inherited_releases(self.lineage))

    @property
    def elsewhere(self) -> tuple[Release, ...]:
        """What the seed's runs released into other ledgers."""
        return not_in_ledger(self.lineage, self.ledger.entries, self.people)

    @property
    def everything(self) -> tuple[Release, ...]:
        """What any run ever released on these people, and the seed's runs on others: what a budget counts."""
        return merge((*self.ledger.releases(self.people), *self.elsewhere))

    @property
    def releases(self) -> int:
        """How many releases this run has made."""
        return count(self.own)

    @property
    def others(self) -> int:
        """How many releases other runs have made on the same people, and the seed's runs elsewhere."""
        return count(self.everything) - self.releases


def count(releases: Iterable[Release]) -> int:
    """How many releases these are."""
    return sum(release.count for release in releases)


def require_own_name(entries: Iterable[LedgerEntry], people: str, ledger: Path) -> None:
    """Refuse a ledger in which some entries name others than `people`: what they spent would not be counted.

    Raises:
        LedgerCorrupt: Naming them.
    """
    if others := sorted({entry.dataset for entry in entries} - {people}):
        raise LedgerCorrupt(
            f"{ledger} is named for {people!r} and its entries are of {', '.join(map(repr, others))}: it was "
            "renamed, copied or restored under another name, and a run would begin with that uncounted. Give "
            "the file and those beside it the name back that its entries have, and set privacy.people to it"
        )


def require_spent(
    entries: Sequence[LedgerEntry], people: str, run: str, plan: PrivacyPlan, rounds: int, where: Path
) -> None:
    """Refuse a run of `rounds` private rounds whose releases are not all in the ledger under its run's id.

    Raises:
        SpendingUnknown: With what the ledger holds instead: its epsilon would be smaller than the truth, 0 at
            worst.
    """
    kind = (plan.release.sampling_rate, plan.release.noise_multiplier)
    own = ledger_releases(entries, people, run)
    found = sum(one.count for one in own if (one.sampling_rate, one.noise_multiplier) == kind)
    due = plan.releases_in(rounds)
    if not plan.is_private or found >= due:
        return
    runs = dict.fromkeys(entry.run for entry in entries if entry.dataset == people)
    raise SpendingUnknown(
        f"{where}: this run has made {rounds} rounds, which are {due} releases, and the ledger of "
        f"{people!r} holds {found} such releases of run {run!r}: what it has spent is not known, and no "
        f"epsilon can be told. The runs in that ledger: {', '.join(runs) or 'none'}. If the folder of a run "
        "from before runs had ids was renamed, give it back the name that is in the ledger; else restore the "
        "ledger (`murmur ledger restore`)"
    )
