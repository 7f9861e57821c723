"""What a run folder and its ledger say about the model in it; nothing is assumed, what is missing is None."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privacy import (
    Epsilon,
    Lineage,
    PrivacyPlan,
    Release,
    SpendingUnknown,
    epsilon,
    epsilon_text,
    ledger_releases,
    read_ledger,
)
from privacy.accounting.epsilon import merge
from privacy.ledger.lineage import inherited_releases, not_in_ledger
from privacy.plan import ADJACENCY
from recipes import ConfigError, RunConfig
from recipes.sections import CorpusSection
from server.report.live_table import warning
from server.report.summary import unprotected
from server.storage.ancestry import lineage_before
from server.storage.checkpoints import load_checkpoint
from server.storage.ledgers import require_spent
from server.storage.populations import people_of, uncounted
from server.storage.run_folder import RunFolder
from server.storage.run_ids import run_of, short
from speech.model.checkpoint import LoadedModel, load_model


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """One run, read back.

    `own` and `all_runs` are releases: of this run, and of any run on its people; `lineage` has those of the
    runs that its seed model came from. `uncounted` says what no epsilon here counts.
    """

    run: str
    config: RunConfig
    plan: PrivacyPlan
    rounds_done: int
    dataset: str
    own: tuple[Release, ...]
    lineage: Lineage
    uncounted: tuple[str, ...]
    all_runs: tuple[Release, ...]
    loaded: LoadedModel
    seed_metrics: dict[str, Any] | None
    final_metrics: dict[str, Any] | None
    evaluation: dict[str, Any] | None

    @classmethod
    def of(cls, folder: RunFolder, config: RunConfig) -> ModelFacts:
        """Read the folder of a run of `config`.

        Raises:
            ConfigError: If nothing was released yet.
            CheckpointMismatch, LedgerCorrupt, ResumeRefused: If the model, the ledger or the checkpoint in it
                cannot be read.
            SpendingUnknown: If the ledger does not hold all that was released to make the model.
        """
        newest = folder.newest_checkpoint()
        if newest is None or not folder.model.is_file():
            raise ConfigError(
                f"{folder.path} is not the folder of a run that released a model: a checkpoint and "
                "model.safetensors are needed"
            )
        checkpoint = load_checkpoint(newest)
        rounds_done, people = checkpoint.round_number, checkpoint.people
        entries = read_ledger(folder.ledger)
        run, loaded = run_of(checkpoint, folder.path), load_model(folder.model)
        if loaded.metadata.get("run", run) != run:
            raise SpendingUnknown(
                f"{folder.model} is a model of run {loaded.metadata['run']}, and the checkpoint beside it is "
                f"of run {run}: put back the files of one run"
            )
        require_spent(entries, people, run, checkpoint.plan, folder.rounds_made(rounds_done), folder.path)
        lineage, ledger = lineage_before(folder, checkpoint), folder.ledger.resolve()
        metrics = _lines(folder.metrics)
        return cls(
            run=run,
            config=config,
            plan=checkpoint.plan,
            rounds_done=rounds_done,
            dataset=checkpoint.identity.dataset,
            own=ledger_releases(entries, people, run),
            lineage=lineage,
            uncounted=tuple(uncounted(config, ledger, people_of(ledger))),
            all_runs=merge((*ledger_releases(entries, people), *not_in_ledger(lineage, entries, people))),
            loaded=loaded,
            seed_metrics=metrics[0] if metrics else None,
            final_metrics=next((line for line in reversed(metrics) if line["round"] <= rounds_done), None),
            evaluation=_json(folder.evaluation),
        )

    @property
    def releases(self) -> int:
        """How many releases the ledger holds of this run."""
        return sum(release.count for release in self.own)

    @property
    def other_releases(self) -> int:
        """And of other runs on the same people."""
        return sum(release.count for release in self.all_runs) - self.releases

    @property
    def spent(self) -> Epsilon:
        """This run's own epsilon, by both accountants."""
        return epsilon(self.own, self.plan.delta)

    @property
    def inherited(self) -> int:
        """How many releases the runs had made that the seed model came from."""
        return sum(release.count for release in inherited_releases(self.lineage))

    @property
    def ancestors(self) -> str:
        """Those private runs, in words; empty where there are none."""
        return ", ".join(short(one.run) for one in self.lineage if one.private)

    @property
    def of_model(self) -> tuple[Release, ...]:
        """What the model was made from: this run's releases and those of its seed's runs."""
        return merge((*self.own, *inherited_releases(self.lineage)))

    @property
    def independent(self) -> bool:
        """Whether no release that the model was made from was of correlated noise, as far as can be told."""
        plain = all(one.adjacency == ADJACENCY for one in self.lineage if one.private)
        return plain and self.plan.bands == 1

    @property
    def headline(self) -> Epsilon:
        """The epsilon of the model: of this run and of all that its seed model came from, together."""
        return epsilon(self.of_model, self.plan.delta)

    @property
    def extrapolated(self) -> PrivacyPlan:
        """The recipe's larger population; not this run."""
        section = self.config.privacy
        return self.plan.extrapolate(section.extrapolate_population, section.extrapolate_cohort)

    @property
    def trained_on_its_corpus(self) -> bool:
        """Whether the nodes held the recipe's corpus; else the model is only scored on it."""
        return self.evaluation is not None and self.evaluation.get("corpus") == self.dataset

    @property
    def data_name(self) -> str:
        """What the corpus is called, without saying where it lies."""
        return data_name(self.config.corpus)

    @property
    def privacy(self) -> str:
        """The guarantee in a sentence, for where there is room for one only."""
        plan = self.plan
        if not plan.is_private:
            return warning(plan)[0].removeprefix("privacy: ")
        whole, own = self.headline, self.spent
        chained = (
            f"with the {self.inherited:,} releases of the runs that its seed model came from "
            f"({self.ancestors}); this run alone: epsilon {epsilon_text(own.value)}, "
            if self.inherited
            else ""
        )
        notes = "".join(f"; {note}" for note in (*self.uncounted, *unprotected(self.lineage)))
        return (
            f"epsilon {epsilon_text(whole.value)} (by {whole.accountant}) at delta {plan.delta:g} {chained}"
            f"for each of {plan.population:,} speakers, {plan.adjacency}, {plan.sampler} sampling, "
            f"{self.releases} releases; from the ledger of run {short(self.run)}{notes}"
        )


def data_name(section: CorpusSection) -> str:
    """The kind of a corpus and the name of its folder."""
    if section.kind == "embedded":
        return "embedded synthetic speakers (CC0-1.0)"
    if section.kind == "synthetic":
        return f"{section.path} synthetic speakers, made as they are asked for"
    path = Path(section.path)
    return f"{(path.parent if path.suffix else path).name} ({section.kind})"


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def _json(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
