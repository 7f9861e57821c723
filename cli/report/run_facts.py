"""What is read from a run folder for every report, and the guarantee that follows from its ledger.

Guarantee: only `config.toml`, the metadata of the newest checkpoint, the ledger, `metrics.jsonl` and
`evaluation.json` are opened here; `cli.report.owner_files` alone opens what stays with the server. Each
epsilon is computed from the ledger, and a run whose releases are not in it is refused (`SpendingUnknown`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cli.composing import config_of_run
from cli.report import public
from cli.report.schemas import EvaluationFile, checked
from privacy import Epsilon, Lineage, PrivacyPlan, Release, epsilon, ledger_releases, read_ledger
from privacy.accounting.epsilon import merge
from privacy.ledger.lineage import inherited_releases, not_in_ledger
from recipes import ConfigError, RunConfig
from server.storage.ancestry import lineage_before, unprotected
from server.storage.checkpoints import load_checkpoint
from server.storage.ledgers import require_spent
from server.storage.populations import population_of, uncounted_remarks, uncounted_without_names
from server.storage.run_folder import RESTORE, RunFolder
from server.storage.run_ids import run_of, short

_RELEASE = re.compile(r"^# release: ([0-9A-Za-z.+-]{1,40})$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """The facts about one run that every report needs.

    Attributes:
        folder: The run folder.
        run: The run's id.
        config: Its configuration.
        plan: Its privacy plan.
        rounds_done: Number of rounds at the newest checkpoint.
        days: The first and the last day in the ledger's entries of this run; empty without any.
        release: The release that made the folder; empty if it does not say.
        own: Releases of this run.
        lineage: The runs that made its seed model, with their releases.
        all_runs: Releases of all runs on its population, and of those of `lineage`.
        uncounted: Remarks on ledgers that no epsilon here includes.
        metrics: The lines of metrics.jsonl that hold, one a round.
        evaluation: Content of evaluation.json; None without one.
    """

    folder: RunFolder
    run: str
    config: RunConfig
    plan: PrivacyPlan
    rounds_done: int
    days: tuple[str, ...]
    release: str
    own: tuple[Release, ...]
    lineage: Lineage
    all_runs: tuple[Release, ...]
    uncounted: tuple[str, ...]
    metrics: tuple[Mapping[str, Any], ...]
    evaluation: Mapping[str, Any] | None

    @classmethod
    def of(cls, path: Path) -> RunFacts:
        """Read a run folder.

        Raises:
            ConfigError: If it is no run folder, no round of it has begun, a line of metrics.jsonl or
                evaluation.json cannot be read, or the latter is of another run.
            LedgerCorrupt, ResumeRefused, SpendingUnknown: If ledger or checkpoint cannot be used.
        """
        folder = RunFolder(path)
        newest = folder.newest_checkpoint()
        if newest is None or not (path / "config.toml").is_file():
            raise ConfigError(
                f"{path} is not the folder of a run that began: it lacks config.toml or a checkpoint; give "
                "a folder that `murmur run` made"
            )
        config, checkpoint = config_of_run(path), load_checkpoint(newest, tensors=False)
        # A run may go on meanwhile: the ledger is read last, and covers all that was read before.
        metrics, evaluation = tuple(in_force(folder.read_metrics())), folder.read_evaluation()
        if evaluation is not None:
            checked(EvaluationFile, evaluation, f"{folder.evaluation}", RESTORE)
        if checkpoint.run and (evaluation or {}).get("run", checkpoint.run) != checkpoint.run:
            raise ConfigError(f"{folder.evaluation} is of another run: restore the file, or remove it")
        made = folder.rounds_made(checkpoint.round_number)
        entries = read_ledger(folder.ledger) if folder.ledger.is_file() else ()
        name, run = checkpoint.population_name, run_of(checkpoint, path)
        require_spent(entries, name, run, checkpoint.plan, made, path)
        lineage, ledger = lineage_before(folder, checkpoint), folder.ledger.resolve()
        days = [entry.time_utc for entry in entries if entry.dataset == name and entry.run == run]
        release = _RELEASE.search((path / "config.toml").read_text(encoding="utf-8"))
        return cls(
            folder=folder,
            run=run,
            config=config,
            plan=checkpoint.plan,
            rounds_done=checkpoint.round_number,
            days=tuple(dict.fromkeys([min(days), max(days)])) if days else (),
            release=release[1] if release else "",
            own=ledger_releases(entries, name, run),
            lineage=lineage,
            all_runs=merge((*ledger_releases(entries, name), *not_in_ledger(lineage, entries, name))),
            uncounted=tuple(uncounted_remarks(config, ledger, population_of(ledger))),
            metrics=metrics,
            evaluation=evaluation,
        )

    @property
    def short(self) -> str:
        """The run's id as it is printed."""
        return short(self.run)

    @cached_property
    def spent(self) -> Epsilon:
        """Epsilon of this run alone, by both accountants."""
        return epsilon(self.own, self.plan.delta)

    @cached_property
    def headline(self) -> Epsilon:
        """Epsilon of the model: of this run and of the runs that made its seed model, together."""
        return epsilon(merge((*self.own, *inherited_releases(self.lineage))), self.plan.delta)

    @cached_property
    def together(self) -> Epsilon:
        """Epsilon of all runs on these speakers."""
        return epsilon(self.all_runs, self.plan.delta)

    @property
    def releases(self) -> int:
        """Number of releases of this run in the ledger."""
        return sum(release.count for release in self.own)

    @property
    def inherited(self) -> int:
        """Number of releases of the runs that made the seed model."""
        return sum(release.count for release in inherited_releases(self.lineage))

    @property
    def other_releases(self) -> int:
        """Number of releases in `all_runs` that are not this run's own."""
        return sum(release.count for release in self.all_runs) - self.releases

    @property
    def warnings(self) -> tuple[str, ...]:
        """What every report must say beside the epsilon; it may name ledgers and folders."""
        return (*self.uncounted, *unprotected(self.lineage))

    @property
    def warnings_without_names(self) -> tuple[str, ...]:
        """The same for the public."""
        found = [f"{one[:1].upper()}{one[1:]}." for one in uncounted_without_names(len(self.uncounted))]
        if unprotected(self.lineage):
            found.append(
                "The seed model came from a federated run without privacy: no epsilon here covers what it "
                "learnt from the speakers of that run."
            )
        return tuple(found)

    @property
    def larger(self) -> PrivacyPlan:
        """The plan with the recipe's larger population and cohort; not that of this run."""
        section = self.config.privacy
        return self.plan.extrapolate(section.extrapolate_population, section.extrapolate_cohort)

    @cached_property
    def extrapolated(self) -> Epsilon:
        """Epsilon that as many rounds of `larger` would have; not that of this run."""
        larger = self.larger
        return larger.epsilon_of(max(larger.releases_in(self.rounds_done), self.releases))

    @property
    def held_out_is_covered(self) -> bool:
        """Whether error rates are of speakers outside the population."""
        return public.may_show_held_out(self.config, self.evaluation)


def in_force(lines: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The lines that hold after resumptions: a resumed line replaces those above it of its round and later.

    Example:
        >>> lines = [{"round": 1}, {"round": 2}, {"round": 1, "resumed": True}, {"round": 2, "wer": 0.5}]
        >>> in_force(lines)
        [{'round': 1, 'resumed': True}, {'round': 2, 'wer': 0.5}]
    """
    held: list[Mapping[str, Any]] = []
    for line in lines:
        if line.get("resumed"):
            held = [one for one in held if one["round"] < line["round"]]
        held.append(line)
    return held
