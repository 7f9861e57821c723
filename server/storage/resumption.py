"""Resumes a run after a crash: finds it, checks that it is still the same run, and opens its ledger.

A resumed run continues after its newest checkpoint, with a new cohort and new noise for every round from
there on. Rounds that were released after that checkpoint are in the ledger and stay spent: the ledger then
has more entries than the run has rounds. Epsilon is computed from the ledger alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from privacy import BudgetExhausted, Ledger, Lineage, PrivacyPlan
from recipes import RunConfig, resolve, runs_folder
from server.errors import ResumeRefused
from server.storage.ancestry import lineage_before, lineage_of_start
from server.storage.checkpoints import (
    Checkpoint,
    Identity,
    fixed_settings,
    load_checkpoint,
    recipe_differences,
)
from server.storage.ledgers import Account, link_ledger, require_own_name, require_spent
from server.storage.lost_entries import require_all_seen
from server.storage.populations import (
    PopulationIdentity,
    first_run_remarks,
    ledger_path,
    note_population,
    require_counted,
    require_name,
    require_never_enrolled,
    uncounted_remarks,
)
from server.storage.run_folder import RunFolder, unwritable
from server.storage.run_ids import run_of


@dataclass(frozen=True, kw_only=True)
class Interrupted:
    """A run that ended early: its folder and its newest checkpoint."""

    folder: RunFolder
    checkpoint: Checkpoint

    @classmethod
    def find(cls, config: RunConfig) -> Interrupted | None:
        """Return the run that `run.resume` names; None for a new run.

        Raises:
            ResumeRefused: If there is no such run, its checkpoint cannot be read, or its recipe differs.
        """
        if not config.run.resume:
            return None
        path = interrupted_path(config.run.resume, config.run.folder)
        folder = RunFolder(path)
        newest = folder.newest_checkpoint()
        if newest is None:
            raise ResumeRefused(
                f"run.resume = {config.run.resume!r}: {path} contains no checkpoint, so nothing was released "
                'before it ended; start a new run (run.resume = "")'
            )
        found = cls(folder=folder, checkpoint=load_checkpoint(newest))
        found._refuse(recipe_differences(found.checkpoint.identity.recipe, fixed_settings(config)))
        return found

    @property
    def run(self) -> str:
        """The id of the run."""
        return run_of(self.checkpoint, self.folder.path)

    def lineage(self) -> Lineage:
        """Return the runs that made its seed model.

        Raises:
            SpendingUnknown: If they cannot be determined.
        """
        return lineage_before(self.folder, self.checkpoint)

    def require(self, now: Identity) -> None:
        """Refuse an identity `now` that differs.

        Raises:
            ResumeRefused: Naming every difference.
        """
        self._refuse(self.checkpoint.identity.differences(now))

    def require_ledger(self, ledger: Ledger) -> None:
        """Refuse a ledger that lacks entries from before the checkpoint, or releases of this run.

        Raises:
            ResumeRefused: If the entry that ended the ledger at the checkpoint is missing.
            SpendingUnknown: If releases of this run are missing.
        """
        if not ledger.contains(self.checkpoint.ledger_head):
            raise ResumeRefused(
                f"{self.folder.path} cannot be resumed: at its checkpoint of round "
                f"{self.checkpoint.round_number} the ledger ended with the entry of SHA-256 "
                f"{self.checkpoint.ledger_head}, and {ledger.path} ({len(ledger.entries)} entries) does not "
                "contain it: entries were removed, or it is another ledger. Restore it from a copy; without "
                "a copy, it is not known what was spent on these speakers."
            )
        kept = self.checkpoint
        made, folder = self.folder.rounds_made(kept.round_number), self.folder.path
        name = kept.population_name
        require_spent(ledger.entries, name, self.run, kept.plan, made, folder)
        if not kept.run and ledger.head != kept.ledger_head and not ledger.releases(name, self.run):
            # A run of a release without run ids that was killed after its first release, and renamed.
            require_spent(ledger.entries, name, self.run, kept.plan, 1, folder)

    def _refuse(self, differences: list[str]) -> None:
        if differences:
            raise ResumeRefused(
                f"{self.folder.path} cannot be resumed, it is not the same run:\n"
                + "\n".join(f"  - {difference}" for difference in differences)
                + "\nresume it with the earlier values, or start a new run"
            )


def interrupted_path(resume: str, runs: str) -> Path:
    """Return the run folder of a path, or of a name in the folder `runs`, such as `latest` (the newest).

    Raises:
        ResumeRefused: If there is no such folder.
    """
    path = (resolve(resume) if "/" in resume else runs_folder(runs) / resume).resolve()
    if not path.is_dir():
        raise ResumeRefused(
            f"run.resume = {resume!r}: there is no run folder {path}; give that of a run, or 'latest'"
        )
    return path


@dataclass(frozen=True, kw_only=True)
class OpenRun:
    """An open run.

    Attributes:
        folder: Its run folder.
        account: Its releases, in the locked ledger of its population.
        remarks: What every report of the run must state about its ledger.
    """

    folder: RunFolder
    account: Account
    remarks: tuple[str, ...]


def _require_a_round(plan: PrivacyPlan, account: Account) -> None:
    """Refuse a new run whose budget has no room for its first round."""
    try:
        plan.require_budget(own=(), others=account.everything)
    except BudgetExhausted as exhausted:
        raise BudgetExhausted(f"There is no room for a single round. {exhausted}") from None


def open_run(
    config: RunConfig,
    plan: PrivacyPlan,
    identity: Identity,
    population: PopulationIdentity,
    interrupted: Interrupted | None,
    run_id: str,
    run: str,
    anchor: frozenset[str] = frozenset(),
) -> OpenRun:
    """Open the run's folder, new or of the interrupted run, and lock the ledger of its population.

    Args:
        config: The run configuration.
        plan: Its privacy plan.
        identity: The identity that the run's checkpoints will have.
        population: Its population.
        interrupted: The run to resume, if any.
        run_id: Flower's number of the run.
        run: The run's own id.
        anchor: Pseudonyms (hex) of the speakers of the anchor corpus.

    Raises:
        ResumeRefused: If the interrupted run was another one, or its ledger has lost entries.
        LedgerCorrupt: If the ledger is damaged, or lacks entries that other files recorded.
        LedgerInUse: If another run has it open.
        SpendingUnknown: If it is not known what was spent for the seed model or by the interrupted run.
        BudgetExhausted: If the budget of a new run has no room for its first round.
        ConfigError: If a new folder or ledger cannot be made, the population needs a name, another ledger
            has releases of some of its speakers, or any ledger has those of a speaker of the anchor corpus.
    """
    if interrupted is not None:
        interrupted.require(identity)
    runs = interrupted.folder.path.parent if interrupted else runs_folder(config.run.folder)
    name = config.privacy.population_name or identity.dataset
    path = ledger_path(runs, name)
    lineage = interrupted.lineage() if interrupted else lineage_of_start(config.model)
    if interrupted is None:
        require_name(config, path, population)
    try:
        ledger = Ledger.open(path)
    except OSError as error:
        raise unwritable(config, f"the ledger {path}", error) from error
    try:
        require_own_name(ledger.entries, name, path)
        if interrupted is not None:
            interrupted.require_ledger(ledger)
        else:
            require_counted(config, path, population)
        require_never_enrolled(path, anchor)
        remarks = (
            *require_all_seen(runs, path, ledger.entries),
            *uncounted_remarks(config, path, population),
            *first_run_remarks(config, path, population),
        )
        account = Account(ledger=ledger, population_name=name, run=run, lineage=lineage)
        if interrupted is None:
            _require_a_round(plan, account)
        note_population(path, population)
        folder = interrupted.folder.reopen() if interrupted else RunFolder.create(config, run_id, run)
        link_ledger(folder.ledger, ledger.path)
    except BaseException:
        ledger.close()
        raise
    return OpenRun(folder=folder, account=account, remarks=remarks)
