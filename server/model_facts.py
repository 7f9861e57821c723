"""What a run folder and its ledger say about the model in it; nothing is assumed, what is missing is None."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privacy import Epsilon, PrivacyPlan, Release, epsilon, epsilon_text, ledger_releases, read_ledger
from recipes import ConfigError, RunConfig
from recipes.sections import CorpusSection
from server.checkpoints import load_checkpoint
from server.live_table import warning
from server.run_folder import RunFolder
from speech.checkpoint import LoadedModel, load_model


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """One run, read back. `own` and `all_runs` are releases: of this run, and of any run on its people."""

    run: str
    config: RunConfig
    plan: PrivacyPlan
    rounds_done: int
    dataset: str
    own: tuple[Release, ...]
    all_runs: tuple[Release, ...]
    loaded: LoadedModel
    seed_metrics: dict[str, Any] | None
    final_metrics: dict[str, Any] | None
    evaluation: dict[str, Any] | None

    @classmethod
    def of(cls, folder: RunFolder, config: RunConfig) -> ModelFacts:
        """Read the folder of a run of `config`.

        Raises
        ------
        ConfigError
            If nothing was released yet.
        CheckpointMismatch, LedgerCorrupt, ResumeRefused
            If the model, the ledger or the checkpoint in it cannot be read.
        """
        newest = folder.newest_checkpoint()
        if newest is None or not folder.model.is_file():
            raise ConfigError(
                f"{folder.path} is not the folder of a run that released a model: a checkpoint and "
                "model.safetensors are needed"
            )
        checkpoint = load_checkpoint(newest)
        rounds_done = checkpoint.round_number
        people = config.privacy.people or checkpoint.identity.dataset
        entries = read_ledger(folder.ledger)
        run = folder.path.resolve().name
        metrics = _lines(folder.metrics)
        return cls(
            run=run,
            config=config,
            plan=PrivacyPlan(**checkpoint.identity.plan),
            rounds_done=rounds_done,
            dataset=checkpoint.identity.dataset,
            own=ledger_releases(entries, people, run),
            all_runs=ledger_releases(entries, people),
            loaded=load_model(folder.model),
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
        """This run's epsilon, by both accountants."""
        return epsilon(self.own, self.plan.delta)

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
        return (
            f"epsilon {epsilon_text(self.spent.value)} (by {self.spent.accountant}) at delta {plan.delta:g} "
            f"for each of {plan.population:,} speakers, {plan.adjacency}, {plan.sampler} sampling, "
            f"{self.releases} releases; from the ledger of run {self.run}"
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
