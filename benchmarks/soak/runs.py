"""The operator: submits one run after the other, and resumes what ended before its time."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from benchmarks.soak.checks import folders, rows_of
from benchmarks.soak.events import Events
from benchmarks.soak.federation import Federation
from server.storage.run_folder import RunFolder

ROUNDS = 12
SETTINGS = {
    "training.rounds": ROUNDS,
    "training.cohort": "12.0",
    "training.round-deadline-seconds": "120.0",
    "local.processor-seconds": "2.5",
    "local.most-seconds": "40.0",
}
PAUSE_SECONDS = 5.0
MOST_RESUMED_IN_VAIN = 5


@dataclass
class Operator:
    """Does what docs/deploy.md tells an operator to do, and nothing else."""

    federation: Federation
    events: Events
    stop: Event
    number: int = 0
    in_vain: int = 0
    busy: bool = False
    interrupted: bool = False

    def work(self) -> None:
        """Submit a run, or resume one, and follow it to its end."""
        if self.stop.is_set():
            return
        self.busy = True
        try:
            self._one_run()
        finally:
            self.busy = False

    def _one_run(self) -> None:
        self.number += 1
        resume, before = self._resume(), self._rounds()
        self.events.add("submitted", number=self.number, resume=resume)
        log = self.federation.work / "logs" / f"run-{self.number:03d}.log"
        began = time.monotonic()
        code = self._submit(log, resume)
        gained = self._rounds() - before
        said = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
        self.events.add(
            "run ended",
            number=self.number,
            code=code,
            resumed=bool(resume),
            seconds=round(time.monotonic() - began, 1),
            rounds=gained,
            said=[line[:300] for line in said if line][-6:] if code else [],
        )
        self.interrupted = bool(code)
        self.in_vain = self.in_vain + 1 if code and resume and not gained else 0
        if self.in_vain >= MOST_RESUMED_IN_VAIN:
            self.events.add(
                "violation", of="resuming", said=f"{self.in_vain} times in vain; a fresh run begins"
            )
            self.interrupted, self.in_vain = False, 0

    def _resume(self) -> str:
        """`latest` if the run before was interrupted, and the newest folder is of a run that can go on."""
        newest = (self.federation.runs / "latest").resolve()
        there = RunFolder(newest).newest_checkpoint() if newest.is_dir() else None
        made_all = any(row["round"] == ROUNDS for row in rows_of(newest))
        complete = made_all and RunFolder(newest).card.exists()  # its last file; to resume takes it away
        return "latest" if self.interrupted and there is not None and not complete else ""

    def _rounds(self) -> int:
        """How many lines of rounds all runs have filed."""
        return sum(len(rows_of(folder)) for folder in folders(self.federation.runs))

    def _submit(self, log: Path, resume: str) -> int:
        settings = [f"{name}={value}" for name, value in SETTINGS.items()]
        settings += [f'run.resume="{resume}"'] if resume else []
        words = [word for setting in settings for word in ("--set", setting)]
        command = [*self.federation.compose, "run", "--rm", "--no-deps", "-T", "run", *words]
        with log.open("w", encoding="utf-8") as file:
            return subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, check=False
            ).returncode
