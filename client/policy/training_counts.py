"""The node's own count of what was asked of each of its speakers: durable, and over all runs.

The server has a ledger; this is what the node knows without it. It is written before a speaker is trained,
so a process that dies in between has counted one visit too many, never one too few.

Guarantee: whether a speaker is over the limit follows from what was asked of that speaker alone. So a speaker
who is counts as zero, and costs the others nothing: a node that refused the whole round for one of them would
let that one decide about everybody's update.
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

FILE = "visits.sqlite"
LAYOUT = (
    """
    CREATE TABLE IF NOT EXISTS visits (
        speaker TEXT, run TEXT, count INTEGER, last_round INTEGER, PRIMARY KEY (speaker, run)
    )
    """,
    "CREATE TABLE IF NOT EXISTS declared (run TEXT PRIMARY KEY, plan TEXT)",
)
ADD = """
INSERT INTO visits VALUES (:speaker, :run, 1, :round)
ON CONFLICT DO UPDATE SET count = count + 1, last_round = :round
"""
SAID = "INSERT OR IGNORE INTO declared VALUES (?, ?)"
SAID_BEFORE = "SELECT plan FROM declared WHERE run = ?"
LONGEST_RUN = 64  # characters of a run's id: what a server names is written to the node's disk
SUM = "SELECT COALESCE(SUM(count), 0) FROM visits WHERE speaker = ?"


@dataclass(frozen=True)
class TrainingCounts:
    """The count in a folder of the node's, of speakers by their ids: other people need another folder."""

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
        """Count one visit for each; returns those of them who had `most` before, and are not counted again.

        What the server declares of the run, `plan`, is kept as well. What is written grows with the visits
        that are counted, and with nothing else that the server chooses.

        Raises:
            ConfigError: If the count cannot be read or written, or the server declares another plan than
                before for the run: nobody is trained then.
        """
        if len(run) > LONGEST_RUN:
            raise ConfigError(f"the run's id has {len(run):,} characters, at most {LONGEST_RUN} are expected")
        over = set()
        said = json.dumps(asdict(plan) if plan else {})
        with self._opened() as database:
            before = database.execute(SAID_BEFORE, (run,)).fetchone()
            if before and before[0] != said:
                raise ConfigError(f"the server declares another plan than before for run {run}: {said}")
            for speaker in speakers:
                if database.execute(SUM, (speaker,)).fetchone()[0] >= most:
                    over.add(speaker)
                    continue
                database.execute(ADD, {"speaker": speaker, "run": run, "round": round_number})
            if len(over) < len(speakers):
                database.execute(SAID, (run, said))
        return over

    def of(self, speaker: str) -> int:
        """How often `speaker` was asked for, in all runs."""
        with self._opened() as database:
            return int(database.execute(SUM, (speaker,)).fetchone()[0])

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """The database within one transaction, for its owner alone."""
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
                f"the node's count of its speakers' visits, {FILE} in its node-state folder, cannot be used "
                f"({type(error).__name__}): its log says where; mend its disk, or bring back a copy"
            ) from error
