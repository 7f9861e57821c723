"""What a run folder and its ledger contain about the model in it; what is missing is None, never assumed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from base.counts import count_of
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
from server.report.live_table import warning
from server.storage.ancestry import lineage_before, unprotected
from server.storage.checkpoints import load_checkpoint
from server.storage.json_lines import read_lines
from server.storage.ledgers import require_spent
from server.storage.populations import population_of, uncounted_remarks, uncounted_without_names
from server.storage.run_folder import RunFolder
from server.storage.run_ids import run_of, short
from speech.model.checkpoint import LoadedModel, load_model


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """The facts about one run.

    Attributes:
        run: The run's id.
        config: Its configuration.
        plan: Its privacy plan.
        rounds_done: Number of rounds at the newest checkpoint.
        dataset: Digest of the nodes' speech.
        anchor: Digest of the anchor corpus; "" without one.
        own: Releases of this run.
        lineage: The runs that made its seed model, with their releases.
        uncounted: Remarks on ledgers that no epsilon here includes.
        all_runs: Releases of all runs on its population, and of those of `lineage`.
        loaded: The model.
        seed_metrics: First line of metrics.jsonl.
        final_metrics: Line of metrics.jsonl of round `rounds_done`, or the last one before it.
        evaluation: Content of evaluation.json.
    """

    run: str
    config: RunConfig
    plan: PrivacyPlan
    rounds_done: int
    dataset: str
    anchor: str
    own: tuple[Release, ...]
    lineage: Lineage
    uncounted: tuple[str, ...]
    all_runs: tuple[Release, ...]
    loaded: LoadedModel
    seed_metrics: dict[str, Any] | None
    final_metrics: dict[str, Any] | None
    evaluation: dict[str, Any] | None

    @classmethod
    def of(cls, folder: RunFolder, config: RunConfig, base_model: Path | None = None) -> ModelFacts:
        """Read the folder of a run of `config`.

        Args:
            folder: The run folder.
            config: The configuration of its run.
            base_model: Where the pre-trained model is that it started from, instead of where its name says.

        Raises:
            ConfigError: If it contains no released model.
            CheckpointMismatch: If the model cannot be read.
            LedgerCorrupt: If the ledger cannot be read.
            ResumeRefused: If the checkpoint cannot be read.
            SpendingUnknown: If the ledger lacks releases from which the model was made.
        """
        newest = folder.newest_checkpoint()
        if newest is None or not folder.model.is_file():
            raise ConfigError(
                f"{folder.path} is not the folder of a run that released a model: it lacks a checkpoint or "
                "model.safetensors; give the folder of a finished run"
            )
        checkpoint = load_checkpoint(newest)
        rounds_done, name = checkpoint.round_number, checkpoint.population_name
        entries = read_ledger(folder.ledger)
        run, loaded = run_of(checkpoint, folder.path), load_model(folder.model, folder=base_model)
        if loaded.metadata.get("run", run) != run:
            raise SpendingUnknown(
                f"{folder.model} is a model of run {loaded.metadata['run']}, and the checkpoint beside it is "
                f"of run {run}: restore the files of one run"
            )
        require_spent(entries, name, run, checkpoint.plan, folder.rounds_made(rounds_done), folder.path)
        lineage, ledger = lineage_before(folder, checkpoint), folder.ledger.resolve()
        metrics = read_lines(folder.metrics)
        return cls(
            run=run,
            config=config,
            plan=checkpoint.plan,
            rounds_done=rounds_done,
            dataset=checkpoint.identity.dataset,
            anchor=checkpoint.identity.anchor,
            own=ledger_releases(entries, name, run),
            lineage=lineage,
            uncounted=tuple(uncounted_remarks(config, ledger, population_of(ledger))),
            all_runs=merge((*ledger_releases(entries, name), *not_in_ledger(lineage, entries, name))),
            loaded=loaded,
            seed_metrics=metrics[0] if metrics else None,
            final_metrics=next((line for line in reversed(metrics) if line["round"] <= rounds_done), None),
            evaluation=folder.read_evaluation(),
        )

    @property
    def releases(self) -> int:
        """Number of releases of this run in the ledger."""
        return sum(release.count for release in self.own)

    @property
    def other_releases(self) -> int:
        """Number of other releases in `all_runs`."""
        return sum(release.count for release in self.all_runs) - self.releases

    @property
    def spent(self) -> Epsilon:
        """Epsilon of this run alone, by both accountants."""
        return epsilon(self.own, self.plan.delta)

    @property
    def inherited(self) -> int:
        """Number of releases of the runs that made the seed model."""
        return sum(release.count for release in inherited_releases(self.lineage))

    @property
    def ancestors(self) -> str:
        """The ids of those that were private, as text; empty if there are none."""
        return ", ".join(short(one.run) for one in self.lineage if one.private)

    @property
    def of_model(self) -> tuple[Release, ...]:
        """All releases that the model depends on: of this run and of the runs that made its seed model."""
        return merge((*self.own, *inherited_releases(self.lineage)))

    @property
    def independent(self) -> bool:
        """Whether no release that the model depends on has correlated noise, as far as the files show."""
        plain = all(one.adjacency == ADJACENCY for one in self.lineage if one.private)
        return plain and self.plan.bands == 1

    @property
    def headline(self) -> Epsilon:
        """The epsilon of the model: of this run and of the runs that made its seed model, together."""
        return epsilon(self.of_model, self.plan.delta)

    @property
    def extrapolated(self) -> PrivacyPlan:
        """The plan with the recipe's larger population and cohort; not that of this run."""
        section = self.config.privacy
        return self.plan.extrapolate(section.extrapolate_population, section.extrapolate_cohort)

    @property
    def trained_on_its_corpus(self) -> bool:
        """Whether the nodes held the recipe's corpus; otherwise the model was only evaluated on it."""
        return self.evaluation is not None and self.evaluation.get("corpus") == self.dataset

    @property
    def data_name(self) -> str:
        """The corpus of the recipe, without its path: readers of a card know a corpus in files by the run."""
        section = self.config.corpus
        if section.kind == "embedded":
            return "embedded synthetic speakers (CC0-1.0)"
        if section.kind == "synthetic":
            return f"{section.path} synthetic speakers, generated on demand"
        return f"corpus of run {short(self.run)} ({section.kind})"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What no epsilon here includes, for everybody: without the names of ledgers."""
        return (*uncounted_without_names(len(self.uncounted)), *unprotected(self.lineage))

    @property
    def privacy(self) -> str:
        """The guarantee in one sentence."""
        plan = self.plan
        if not plan.is_private:
            return warning(plan)[0].removeprefix("privacy: ")
        whole, own = self.headline, self.spent
        chained = (
            f"with {count_of(self.inherited, 'release')} of the runs that made its seed model "
            f"({self.ancestors}); this run alone: epsilon {epsilon_text(own.value)}, "
            if self.inherited
            else ""
        )
        notes = "".join(f"; {note}" for note in self.warnings)
        return (
            f"epsilon {epsilon_text(whole.value)} (by {whole.accountant}) at delta {plan.delta:g} {chained}"
            f"for each of {plan.population:,} speakers, {plan.adjacency}, {plan.sampler} sampling, "
            f"{count_of(self.releases, 'release')}; from the ledger of run {short(self.run)}{notes}"
        )
