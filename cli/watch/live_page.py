"""The live page of one run folder: made anew when the run's files change, while somebody looks at it.

Guarantee: what it shows of a run are the sections of `murmur report` for the same reader
(`cli.report.page_view`), and the plan made of them; it writes nothing into the run folder. What goes wrong
is said on the terminal, never on the page: messages name paths.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.report.page_view import Asked, Live, Section, rendered, sections_of
from cli.report.run_facts import RunFacts
from cli.watch.plan_section import PlannedCurves, plan_section
from privacy import PrivacyPlan
from recipes import ConfigError
from server.storage.checkpoints import trained_parameters
from server.storage.run_folder import RunFolder

PAUSE_SECONDS = 1.0
TRIES = 5
SHARE = 2  # looks that compute wait so many times as long as they took: the run goes on beside them
BEGINNING = "The run is about to begin."
GONE = "The run folder is not there any more: this is the last that it said."
UNREADABLE = (
    "The run folder cannot be read now, and the terminal of murmur watch says why: this is the last that it "
    "said."
)
CONFIG = "config.toml"
OF_ALL = (CONFIG, "metrics.jsonl", "evaluation.json", "ledger.jsonl", "checkpoints")
OF_THE_OWNER = ("traffic.jsonl", "not_private.jsonl")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A page, and the tag that changes with it."""

    content: bytes
    tag: str


class LivePage:
    """Keeps the page of a run folder.

    Args:
        folder: The run folder.
        asked: For whom the page is.
        warn: Says a sentence on the terminal.
    """

    def __init__(self, folder: Path, asked: Asked, warn: Callable[[str], None]) -> None:
        self.proof = secrets.token_urlsafe()
        self._folder, self._asked, self._warn = RunFolder(folder), asked, warn
        self._sections: Sequence[Section] = ()
        self._trained: int | None = None
        self._said, self._failures, self._warned = BEGINNING, 0, ""
        self._plan: PrivacyPlan | None = None
        self._curves: PlannedCurves | None = None
        self._drawn: PlannedCurves | None = None
        self._seen: object = None
        self._wanted = threading.Event()
        self._draw()

    def begin(self) -> None:
        """Read the folder for the first time.

        Raises:
            ConfigError: If it is no run folder, or may not be shown to this reader.
            LedgerCorrupt, ResumeRefused, SpendingUnknown, OSError: If a file of it cannot be used.
        """
        if not (self._folder.path / CONFIG).is_file():
            raise ConfigError(
                f"{self._folder.path} is no run folder: it lacks {CONFIG}; give a folder that `murmur run` "
                "made, or its name in the runs folder"
            )
        self._read_steadily()
        self._draw()

    def answer(self) -> Answer:
        """The page as it is known now; that it was asked for has the folder looked at soon."""
        self._wanted.set()
        return self._answer

    def follow(self) -> None:
        """Look at the folder whenever the page was asked for, for ever."""
        while True:
            self._wanted.wait()
            self._wanted.clear()
            began = time.monotonic()
            self.look()
            time.sleep(max(PAUSE_SECONDS, SHARE * (time.monotonic() - began)))

    def look(self) -> None:
        """Make the page anew if files of the run have changed; whatever is wrong with them, a page stays."""
        if self._marks() != self._seen:
            try:
                self._read_steadily()
            except Exception as error:  # a run folder can hold anything, and the page outlives all of it
                self._seen = None
                self._failed(error)
            else:
                self._failures, self._warned = 0, ""
            self._draw()
        elif self._curves is not self._drawn:
            self._draw()

    def _marks(self) -> object:
        """What tells that a file of the run has changed."""
        names = OF_ALL if self._asked.for_public else (*OF_ALL, *OF_THE_OWNER)
        return [_mark(self._folder.path / name) for name in names]

    def _read_steadily(self) -> None:
        """Read the folder, and again where that failed while the run changed it (old checkpoints go)."""
        for attempt in range(1, TRIES + 1):
            seen = self._marks()
            try:
                self._read()
            except Exception:
                if attempt == TRIES or self._marks() == seen:
                    raise
            else:
                self._seen = seen
                return

    def _read(self) -> None:
        if (newest := self._folder.newest_checkpoint()) is None:
            if not (self._folder.path / CONFIG).is_file():
                raise FileNotFoundError(f"{self._folder.path} is not there")
            return
        trained = trained_parameters(newest)
        facts = RunFacts.of(self._folder.path)
        sections = sections_of([facts], {}, self._asked)
        # The size of a model tells which it is: it is shown where the model's name is.
        named = "model.name" in sections[0].view.settings
        self._trained = trained if named else None
        self._sections, self._said = sections, _progress(facts)
        if facts.plan.is_private and facts.plan != self._plan:
            self._plan, self._curves = facts.plan, None
            work = (facts.plan, facts.larger)
            threading.Thread(target=self._compute, args=work, name="plan", daemon=True).start()

    def _compute(self, plan: PrivacyPlan, larger: PrivacyPlan) -> None:
        """Compute the curves of a plan, beside everything else."""
        self._curves = PlannedCurves.of(plan, larger)

    def _failed(self, error: Exception) -> None:
        """Files change while they are read, and the next look reads others: only a second failure is said."""
        self._failures += 1
        if self._failures < 2:
            return
        self._said = UNREADABLE if self._folder.path.is_dir() else GONE
        if (said := f"{type(error).__name__}: {error}") != self._warned:
            self._warned = said
            self._warn(said)

    def _draw(self) -> None:
        self._drawn, plan = self._curves, None
        if self._sections and (self._plan is None or self._drawn is not None):
            plan = plan_section(self._drawn, self._sections[0], self._trained)
        live = Live(said=self._said, proof=self.proof, plan=plan)
        content = rendered(self._sections, self._asked, live).encode()
        self._answer = Answer(content=content, tag=f'"{hashlib.sha256(content).hexdigest()}"')


def _progress(facts: RunFacts) -> str:
    """How far the run is."""
    planned = facts.plan.rounds
    done = max([facts.rounds_done, *(int(line["round"]) for line in facts.metrics)])
    if facts.evaluation is not None and done < planned:
        return f"The run ended after round {done} of {planned}."
    if facts.evaluation is not None:
        return f"All {planned} rounds have ended."
    return f"Round {done} of {planned} has ended." if done else f"Round 1 of {planned} comes next."


def _mark(path: Path) -> tuple[int, int, int] | None:
    """What changes whenever the file or the folder does; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
