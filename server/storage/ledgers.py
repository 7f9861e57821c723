"""The releases of one run and of its whole ledger: every epsilon that is shown is computed from them.

The file `ledger.jsonl` of a run folder is a link to the ledger of its population
(`server.storage.populations`); each entry has the id of its run. The file is locked while a run has it open:
a second run on the same population at the same time is refused (`LedgerInUse`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from base.counts import count_of
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
    """Make `link` a relative link to `ledger`, so that the runs folder can be moved as a whole."""
    if not link.is_symlink():
        link.symlink_to(os.path.relpath(ledger, link.parent))


@dataclass(frozen=True, kw_only=True)
class Account:
    """The releases of a run, and other releases that count, from the ledger and the seed model's lineage.

    Attributes:
        ledger: The ledger of the population, open.
        population_name: The population's name in it.
        run: The run's id.
        lineage: The runs that made the seed model.
    """

    ledger: Ledger
    population_name: str
    run: str
    lineage: Lineage = ()

    @property
    def own(self) -> tuple[Release, ...]:
        """The releases of this run, with those whose model was lost."""
        return self.ledger.releases(self.population_name, self.run)

    @property
    def of_model(self) -> tuple[Release, ...]:
        """All releases that the model depends on: of this run and of the runs that made its seed model."""
        return merge((*self.own, *inherited_releases(self.lineage)))

    @property
    def inherited(self) -> int:
        """Number of releases of the runs that made the seed model."""
        return count(inherited_releases(self.lineage))

    @property
    def elsewhere(self) -> tuple[Release, ...]:
        """Releases of the runs that made the seed model, as far as this ledger does not have them."""
        return not_in_ledger(self.lineage, self.ledger.entries, self.population_name)

    @property
    def everything(self) -> tuple[Release, ...]:
        """All releases that a budget counts: those of any run on this population, and `elsewhere`."""
        return merge((*self.ledger.releases(self.population_name), *self.elsewhere))

    @property
    def releases(self) -> int:
        """Number of releases of this run."""
        return count(self.own)

    @property
    def others(self) -> int:
        """Number of releases of other runs on the same population, with those of `elsewhere`."""
        return count(self.everything) - self.releases


def count(releases: Iterable[Release]) -> int:
    """Return the number of releases."""
    return sum(release.count for release in releases)


def require_own_name(entries: Iterable[LedgerEntry], name: str, ledger: Path) -> None:
    """Refuse a ledger with entries of another population name: a run would not count their spending.

    Raises:
        LedgerCorrupt: Naming these populations.
    """
    if others := sorted({entry.dataset for entry in entries} - {name}):
        raise LedgerCorrupt(
            f"{ledger} has the name {name!r}, and its entries have {', '.join(map(repr, others))}: it was "
            "renamed, copied or restored under another name, and a run would not count these entries. Rename "
            "the file and those beside it to the name in its entries, and set privacy.population-name to it"
        )


def require_spent(
    entries: Sequence[LedgerEntry], name: str, run: str, plan: PrivacyPlan, rounds: int, where: Path
) -> None:
    """Refuse a run of `rounds` private rounds if the ledger lacks some of its releases.

    An epsilon from such a ledger would be smaller than the true one, in the worst case 0.

    Args:
        entries: The entries of the ledger.
        name: The population's name in it.
        run: The run's id.
        plan: The run's plan.
        rounds: Number of rounds that the run has made.
        where: The run folder, for the message.

    Raises:
        SpendingUnknown: With the releases that the ledger has.
    """
    kind = (plan.release.sampling_rate, plan.release.noise_multiplier)
    own = ledger_releases(entries, name, run)
    found = sum(one.count for one in own if (one.sampling_rate, one.noise_multiplier) == kind)
    due = plan.releases_in(rounds)
    if not plan.is_private or found >= due:
        return
    runs = dict.fromkeys(entry.run for entry in entries if entry.dataset == name)
    raise SpendingUnknown(
        f"{where}: this run has made {count_of(rounds, 'round')}, so {count_of(due, 'release')}, and the "
        f"ledger of {name!r} has {found} such releases of run {run!r}: its spending is not known, so "
        f"no epsilon can be computed. The runs in that ledger: {', '.join(runs) or 'none'}. If this folder "
        "is from a release without run ids and was renamed, give it the name that is in the "
        "ledger; otherwise restore the ledger (`murmur ledger restore`)"
    )
