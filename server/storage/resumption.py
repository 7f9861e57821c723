"""Going on after a crash: find the run, compare what it was with what is asked, open its ledger.

A resumed run continues after its newest checkpoint, with a fresh cohort and fresh noise for every round from
there on. Rounds that were released after that checkpoint are in the ledger and stay spent: the ledger then
holds more entries than the run has rounds, and epsilon is computed from the ledger alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from privacy import Ledger, Lineage
from recipes import RunConfig, resolve, runs_folder
from server.errors import ResumeRefused
from server.storage.ancestry import lineage_before, lineage_of_seed
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
    first_run,
    ledger_path,
    note_people,
    require_counted,
    require_name,
    uncounted,
)
from server.storage.run_folder import RunFolder, unwritable
from server.storage.run_ids import fresh_run_id, run_of
from speech.model.checkpoint import load_model
from speech.model.ctc_transformer import CTCTransformer

LATEST = "latest"


@dataclass(frozen=True, kw_only=True)
class Interrupted:
    """A run that ended before its time, as its folder has it."""

    folder: RunFolder
    checkpoint: Checkpoint

    @classmethod
    def find(cls, config: RunConfig) -> Interrupted | None:
        """The run that `run.resume` names; None for a fresh run.

        Raises:
            ResumeRefused: If there is none, it has no checkpoint that can be read, or its recipe differs.
        """
        if not config.run.resume:
            return None
        path = interrupted_path(config.run.resume, config.run.folder)
        folder = RunFolder(path)
        newest = folder.newest_checkpoint()
        if newest is None:
            raise ResumeRefused(
                f"run.resume = {config.run.resume!r}: {path} holds no checkpoint, so nothing was released "
                'before it ended; start a fresh run (run.resume = "")'
            )
        found = cls(folder=folder, checkpoint=load_checkpoint(newest))
        found._refuse(recipe_differences(found.checkpoint.identity.recipe, fixed_settings(config)))
        return found

    @property
    def run(self) -> str:
        """The id of the run."""
        return run_of(self.checkpoint, self.folder.path)

    def lineage(self) -> Lineage:
        """The runs that made its seed model. Raises `SpendingUnknown` where that cannot be found."""
        return lineage_before(self.folder, self.checkpoint)

    def seed_model(self) -> CTCTransformer:
        """The model that the run started from."""
        return load_model(self.folder.seed, preset=self.checkpoint.identity.preset).model

    def require(self, now: Identity) -> None:
        """Raise `ResumeRefused`, naming every difference, unless the run is still the same."""
        self._refuse(self.checkpoint.identity.differences(now))

    def require_ledger(self, ledger: Ledger) -> None:
        """Refuse a ledger that does not hold all that it held at the checkpoint, and all that was released.

        Raises `ResumeRefused`, or `SpendingUnknown` where the run's own releases are not in it.
        """
        if not ledger.contains(self.checkpoint.ledger_head):
            raise ResumeRefused(
                f"{self.folder.path} cannot be resumed: its checkpoint of round "
                f"{self.checkpoint.round_number} saw a ledger that ended with the entry of SHA-256 "
                f"{self.checkpoint.ledger_head}, and {ledger.path} ({len(ledger.entries)} entries) does not "
                "contain it: entries were removed, or it is another ledger. Restore it from a copy; without "
                "one, what these people's data has spent is unknown."
            )
        kept = self.checkpoint
        made, folder = self.folder.rounds_made(kept.round_number), self.folder.path
        require_spent(ledger.entries, kept.people, self.run, kept.plan, made, folder)
        if not kept.run and ledger.head != kept.ledger_head and not ledger.releases(kept.people, self.run):
            # A run from before ids that was killed after its first release, and renamed.
            require_spent(ledger.entries, kept.people, self.run, kept.plan, 1, folder)

    def _refuse(self, differences: list[str]) -> None:
        if differences:
            raise ResumeRefused(
                f"{self.folder.path} cannot be resumed, it is not the same run:\n"
                + "\n".join(f"  - {difference}" for difference in differences)
                + "\nresume it as it was, or start a fresh run"
            )


def interrupted_path(resume: str, runs: str) -> Path:
    """The run folder of a path, or of a name in the folder `runs`, such as `latest` (the newest one).

    Raises:
        ResumeRefused: If there is no such folder.
    """
    path = (resolve(resume) if "/" in resume else runs_folder(runs) / resume).resolve()
    if not path.is_dir():
        raise ResumeRefused(f"run.resume = {resume!r}: there is no run folder {path}")
    return path


@dataclass(frozen=True, kw_only=True)
class OpenRun:
    """A run's folder and its part of the ledger of its people, locked; `remarks` are to be said each time."""

    folder: RunFolder
    account: Account
    remarks: tuple[str, ...]


def open_run(
    config: RunConfig,
    identity: Identity,
    people: PopulationIdentity,
    interrupted: Interrupted | None,
    run_id: str,
) -> OpenRun:
    """The run's folder, fresh or reopened, and the ledger of its people, locked. `run_id` is Flower's.

    Raises:
        ResumeRefused: If the interrupted run was another one, or its ledger has lost entries.
        LedgerCorrupt, LedgerInUse: If the ledger cannot be trusted or lacks what others saw in it, or another
            run has it open.
        SpendingUnknown: If what was spent for the seed model, or for the interrupted run, is not known.
        ConfigError: If a fresh folder or ledger cannot be made, the people need a name, or have another
            ledger too.
    """
    if interrupted is not None:
        interrupted.require(identity)
    runs = interrupted.folder.path.parent if interrupted else runs_folder(config.run.folder)
    name = config.privacy.people or identity.dataset
    path = ledger_path(runs, name)
    lineage = interrupted.lineage() if interrupted else lineage_of_seed(config.model.seed)
    if interrupted is None:
        require_name(config, path, people)
    try:
        ledger = Ledger.open(path)
    except OSError as error:
        raise unwritable(config, f"the ledger {path}", error) from error
    try:
        require_own_name(ledger.entries, name, path)
        if interrupted is not None:
            interrupted.require_ledger(ledger)
        else:
            require_counted(config, path, people)
        remarks = (
            *require_all_seen(runs, path, ledger.entries),
            *uncounted(config, path, people),
            *first_run(config, path, people),
        )
        note_people(path, people)
        run = interrupted.run if interrupted else fresh_run_id()
        folder = interrupted.folder.reopen() if interrupted else RunFolder.create(config, run_id, run)
        link_ledger(folder.ledger, ledger.path)
    except BaseException:
        ledger.close()
        raise
    account = Account(ledger=ledger, people=name, run=run, lineage=lineage)
    return OpenRun(folder=folder, account=account, remarks=remarks)
