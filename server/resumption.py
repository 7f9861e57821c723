"""Going on after a crash: find the run, compare what it was with what is asked, open its ledger.

A resumed run continues after its newest checkpoint, with a fresh cohort and fresh noise for every round from
there on. Rounds that were released after that checkpoint are in the ledger and stay spent: the ledger then
holds more entries than the run has rounds, and epsilon is computed from the ledger alone.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from privacy import Ledger
from recipes import RunConfig, resolve
from server.checkpoints import (
    Checkpoint,
    Identity,
    fixed_settings,
    load_checkpoint,
    recipe_differences,
)
from server.errors import ResumeRefused
from server.ledgers import ledger_path, link_ledger, note_speech, require_one_ledger
from server.run_folder import RunFolder, unwritable
from speech.checkpoint import load_model
from speech.model import CTCTransformer

LATEST = "latest"


@dataclass(frozen=True, kw_only=True)
class Interrupted:
    """A run that ended before its time, as its folder has it."""

    folder: RunFolder
    checkpoint: Checkpoint

    @classmethod
    def find(cls, config: RunConfig) -> Interrupted | None:
        """The run that `run.resume` names; None for a fresh run.

        Raises
        ------
        ResumeRefused
            If there is none, it has no checkpoint that can be read, or its recipe differs.
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

    def seed_model(self) -> CTCTransformer:
        """The model that the run started from."""
        return load_model(self.folder.seed, preset=self.checkpoint.identity.preset).model

    def require(self, now: Identity) -> None:
        """Raise `ResumeRefused`, naming every difference, unless the run is still the same."""
        self._refuse(self.checkpoint.identity.differences(now))

    def require_ledger(self, ledger: Ledger) -> None:
        """Raise `ResumeRefused` unless the ledger still holds all that it held at the checkpoint."""
        if not ledger.contains(self.checkpoint.ledger_head):
            raise ResumeRefused(
                f"{self.folder.path} cannot be resumed: its checkpoint of round "
                f"{self.checkpoint.round_number} saw a ledger that ended with the entry of SHA-256 "
                f"{self.checkpoint.ledger_head}, and {ledger.path} ({len(ledger.entries)} entries) does not "
                "contain it: entries were removed, or it is another ledger. Restore it from a copy; without "
                "one, what these people's data has spent is unknown."
            )

    def _refuse(self, differences: list[str]) -> None:
        if differences:
            raise ResumeRefused(
                f"{self.folder.path} cannot be resumed, it is not the same run:\n"
                + "\n".join(f"  - {difference}" for difference in differences)
                + "\nresume it as it was, or start a fresh run"
            )


def interrupted_path(resume: str, runs: str) -> Path:
    """The run folder that a person means by a path, or by `latest` (the newest one of `runs`).

    Raises
    ------
    ResumeRefused
        If there is no such folder.
    """
    path = (resolve(runs) / LATEST if resume == LATEST else resolve(resume)).resolve()
    if not path.is_dir():
        raise ResumeRefused(f"run.resume = {resume!r}: there is no run folder {path}")
    return path


def open_run(
    config: RunConfig,
    identity: Identity,
    speech: Collection[str],
    interrupted: Interrupted | None,
    run_id: str,
) -> tuple[RunFolder, Ledger]:
    """The run's folder, fresh or reopened, and the ledger of its people, locked.

    `speech` has the digests of the nodes' corpora.

    Raises
    ------
    ResumeRefused
        If the interrupted run was another one, or its ledger has lost entries.
    LedgerCorrupt, LedgerInUse
        If the ledger cannot be trusted, or another run has it open.
    ConfigError
        If a fresh folder or ledger cannot be made, or some of these people have another ledger.
    """
    if interrupted is not None:
        interrupted.require(identity)
    runs = interrupted.folder.path.parent if interrupted else resolve(config.run.folder)
    path = ledger_path(runs, config.privacy.people or identity.dataset)
    try:
        ledger = Ledger.open(path)
    except OSError as error:
        raise unwritable(config, f"the ledger {path}", error) from error
    try:
        if interrupted is not None:
            interrupted.require_ledger(ledger)
        elif not config.privacy.people:
            require_one_ledger(path, speech)
        note_speech(path, speech)
        folder = interrupted.folder.reopen() if interrupted else RunFolder.create(config, run_id)
        link_ledger(folder.ledger, ledger.path)
    except BaseException:
        ledger.close()
        raise
    return folder, ledger
