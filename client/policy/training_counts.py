"""In how many rounds each speaker of a node was trained, over all runs: a durable count of the node's own.

The server has a ledger; this count does not depend on it. It is written before a speaker is trained. So a
process that dies in between has counted one round too many, never one too few.

Guarantee: whether a speaker is over the limit follows from that speaker's own count alone. Such a speaker
counts as zero and costs the others nothing. (A node that refused the whole round would let one speaker decide
about the updates of all.)
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from recipes import ConfigError
from wire.declared_plan import DeclaredPlan

log = logging.getLogger("murmuration.client")

FILE = "visits.sqlite"  # file and table keep their first names: counts must survive an upgrade
TABLE = FILE.removesuffix(".sqlite")
LAYOUT = (
    f"""
    CREATE TABLE IF NOT EXISTS {TABLE} (
        speaker TEXT, run TEXT, count INTEGER, last_round INTEGER, PRIMARY KEY (speaker, run)
    )
    """,
    "CREATE TABLE IF NOT EXISTS declared (run TEXT PRIMARY KEY, plan TEXT)",
)
ADD = f"""
INSERT INTO {TABLE} VALUES (:speaker, :run, 1, :round)
ON CONFLICT DO UPDATE SET count = count + 1, last_round = :round
"""
DECLARED = "INSERT OR IGNORE INTO declared VALUES (?, ?)"
DECLARED_BEFORE = "SELECT plan FROM declared WHERE run = ?"
LONGEST_RUN = 64  # characters of a run's id: the server chooses it, and the node writes it to its disk
SUM = f"SELECT COALESCE(SUM(count), 0) FROM {TABLE} WHERE speaker = ?"


@dataclass(frozen=True)
class TrainingCounts:
    """The counts of the speakers with certain ids, in a folder; other speakers need another folder."""

    folder: Path

    def add(
        self,
        speakers: Sequence[str],
        most: int,
        *,
        run: str,
        round_number: int,
        plan: DeclaredPlan | None = None,
    ) -> set[str]:
        """Count one round for each speaker who has had fewer than `most`.

        The plan that the server declares for the run is kept too. The file grows with the rounds that are
        counted, and with nothing else that the server chooses.

        Returns:
            The speakers who had `most` rounds before; they are not counted again.

        Raises:
            ConfigError: If the counts cannot be read or written, or the server declares another plan than
                before for the run. The node trains no speaker then.
        """
        if len(run) > LONGEST_RUN:
            raise ConfigError(f"the run's id has {len(run):,} characters, at most {LONGEST_RUN} are allowed")
        over = set()
        declared = json.dumps(asdict(plan) if plan else {})
        with self._opened() as database:
            before = database.execute(DECLARED_BEFORE, (run,)).fetchone()
            if before and before[0] != declared:
                raise ConfigError(f"the server declares another plan than before for run {run}: {declared}")
            for speaker in speakers:
                if database.execute(SUM, (speaker,)).fetchone()[0] >= most:
                    over.add(speaker)
                    continue
                database.execute(ADD, {"speaker": speaker, "run": run, "round": round_number})
            if len(over) < len(speakers):
                database.execute(DECLARED, (run, declared))
        return over

    def of(self, speaker: str) -> int:
        """In how many rounds `speaker` was trained, over all runs."""
        with self._opened() as database:
            return int(database.execute(SUM, (speaker,)).fetchone()[0])

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """The database in one transaction; only its owner can read the file."""
        path = self.folder / FILE
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as database:
                database.execute("PRAGMA synchronous = FULL")
                database.execute("BEGIN IMMEDIATE")
                for table in LAYOUT:
                    database.execute(table)
                yield database
                database.execute("COMMIT")
        except (OSError, sqlite3.Error) as error:
            log.error("%s cannot be used: %s", path, error)
            raise ConfigError(
                f"the node's count of its speakers' rounds, {FILE} in its node-state folder, cannot be used "
                f"({type(error).__name__}): its log has the path; repair its disk, or restore a copy"
            ) from error
