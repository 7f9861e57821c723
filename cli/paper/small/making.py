"""One run of a study and its result: a federation in this process, or central training."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cli.composing import default_config
from cli.paper.results.record import VERSION, Data, Layers, Model, Privacy, Result, WordErrors, write_result
from cli.paper.small.experiments import CENTRAL, EMBEDDED, LOOK, NOISE, NOISE_ON, Cell
from cli.paper.small.federation import federate
from cli.paper.small.inside import GroupNoise, Probe
from cli.paper.small.jobs import Job
from cli.paper.small.speech import TRAIN, prepare
from cli.paper.small.starts import start_weights
from optim.flat_model import layout_of
from optim.trainable import freeze
from privacy.plan import ADJACENCY
from recipes import RunConfig, feature_cache
from server.evaluation import HeldOut
from server.factory import make_extrapolated, make_plan, starting_model
from server.storage.json_lines import read_lines
from server.storage.run_folder import RunFolder
from speech.corpora.corpus import Corpus
from speech.corpora.loading import load_corpus
from speech.evaluation.assessment import Assessment
from speech.evaluation.bootstrap import LEVEL
from speech.evaluation.evaluation import assess
from speech.model.checkpoint import load_model
from speech.model.recogniser import Recogniser

POPULATION_NAME = "small"


@dataclass(frozen=True, kw_only=True)
class _Trained:
    """What a training gives: the model, its errors, its course, and what it promises."""

    model: Recogniser
    assessment: Assessment
    curve: list[dict[str, Any]]
    cohort: float
    rounds: int
    privacy: Privacy
    layers: Layers | None = None


def make(job: Job, dev_share: float, prepared: Path, folder: Path) -> Path:
    """Make the run of `job` and write its result below `folder`; return the file.

    Args:
        job: The run.
        dev_share: Share of the training speakers that is left for dev.
        prepared: A folder for manifests and start weights, which runs share.
        folder: The folder of results.
    """
    began = time.monotonic()
    manifest = prepare(job.source, job.cell.speakers, job.seed, dev_share, prepared)
    corpus = load_corpus("manifest", manifest)
    with TemporaryDirectory(prefix="murmur-") as place:
        config = _config(job, manifest, prepared, Path(place))
        central = job.cell.trainer == CENTRAL
        trained = _central(job, config, corpus) if central else _federated(job.cell, config, corpus)
    result = _result(job, corpus, trained, time.monotonic() - began)
    write_result(job.path(folder), result)
    return job.path(folder)


def _config(job: Job, manifest: Path, prepared: Path, place: Path) -> RunConfig:
    """The run configuration; of central training, what it shares with a run: the model and the speech."""
    cell = job.cell
    settings = {} if cell.trainer == CENTRAL else cell.run_settings
    weights = start_weights(cell, job.seed, prepared)
    start = {} if cell.start == EMBEDDED else {"model.seed": str(weights or cell.start)}
    return RunConfig.from_flat(
        {
            **default_config(),
            **start,
            **settings,
            "corpus.kind": "manifest",
            "corpus.path": str(manifest),
            "corpus.train-split": TRAIN,
            "corpus.test-split": job.split,
            "privacy.population-name": POPULATION_NAME,
            "run.folder": str(place),
        }
    )


def _federated(cell: Cell, config: RunConfig, corpus: Corpus) -> _Trained:
    on_mean = _on_mean(cell, config)
    folder = RunFolder(federate(config, on_mean=on_mean))
    model = load_model(folder.model).model
    held_out = HeldOut.of(config.corpus, model)
    metrics = read_lines(folder.metrics)
    return _Trained(
        model=model,
        assessment=assess(held_out.evaluate(model), corpus, config.corpus.test_split),
        curve=[
            {key: value for key, value in line.items() if not isinstance(value, dict)} for line in metrics
        ],
        cohort=config.training.cohort,
        rounds=config.training.rounds,
        privacy=_privacy(config, metrics[-1], len(corpus.speakers(TRAIN))),
        layers=on_mean.layers(read_lines(folder.not_private)) if isinstance(on_mean, Probe) else None,
    )


def _on_mean(cell: Cell, config: RunConfig) -> Probe | GroupNoise | None:
    """What the cell does with each round's mean; nothing for most."""
    settings = cell.settings
    if not (settings.get(LOOK) or NOISE_ON in settings):
        return None
    model = starting_model(config.model, "en")
    freeze(model, config.model.trained)
    layout = layout_of(model, config.privacy.groups)
    if settings.get(LOOK):
        return Probe(layout=layout)
    std = float(settings[NOISE]) * config.privacy.clip_bound / config.training.cohort
    return GroupNoise(layout=layout, group=str(settings[NOISE_ON]), std=std)


def _privacy(config: RunConfig, last: Mapping[str, Any], population: int) -> Privacy:
    """What the ledger says of the run, as its last line of metrics has it."""
    plan = make_plan(config, population)
    extrapolated = make_extrapolated(config, plan)
    noise = plan.noise_multiplier > 0
    return Privacy(
        epsilon=float(last["epsilon_rdp_this_run"]) if noise else math.inf,
        extrapolated=float(last["epsilon_rdp_extrapolated"]) if noise else None,
        extrapolated_population=extrapolated.population if noise else None,
        extrapolated_cohort=float(extrapolated.cohort) if noise else None,
        delta=plan.delta,
        accountant="RDP",
        adjacency=plan.adjacency,
    )


def _central(job: Job, config: RunConfig, corpus: Corpus) -> _Trained:
    from cli.pretrain.start import start_of
    from speech.pretraining import PretrainConfig, pretrain

    chosen = {"split": TRAIN, "held-out": (job.split,), "epochs": 0, **job.cell.settings}
    settings = PretrainConfig.model_validate({**chosen, "random-seed": job.seed})
    steps: list[dict[str, Any]] = []
    trained = pretrain(
        corpus,
        settings,
        start=start_of(config.model, settings, config.corpus.max_seconds),
        feature_folder=feature_cache(),
        on_step=lambda step, early: steps.append({"round": step.number, "loss": step.loss}),
    )
    evaluation = trained.evaluations[job.split]
    return _Trained(
        model=trained.model,
        assessment=assess(evaluation, corpus, job.split),
        curve=[*steps[:: max(1, len(steps) // 10)], {"round": len(steps), "wer": evaluation.wer}],
        cohort=float(len(corpus.speakers(TRAIN))),
        rounds=max(1, len(steps)),
        privacy=Privacy(
            epsilon=math.inf,
            extrapolated=None,
            extrapolated_population=None,
            extrapolated_cohort=None,
            delta=config.privacy.delta,
            accountant="RDP",
            adjacency=ADJACENCY,
        ),
    )


def _result(job: Job, corpus: Corpus, trained: _Trained, seconds: float) -> Result:
    cell: Cell = job.cell
    parameters = list(trained.model.parameters())
    return Result.model_validate(
        {
            "version": VERSION,
            "name": job.name,
            "group": job.group,
            "seed": job.seed,
            "purpose": job.purpose,
            "model": Model(
                name=cell.preset,
                start=cell.start,
                parameters=sum(one.numel() for one in parameters),
                trained=sum(one.numel() for one in parameters if one.requires_grad),
            ),
            "data": Data(name=job.source.name, speakers=cell.speakers, digest=corpus.digest, split=job.split),
            "population": len(corpus.speakers(TRAIN)),
            "cohort": trained.cohort,
            "rounds": trained.rounds,
            "privacy": trained.privacy,
            "wer": _word_errors(trained.assessment),
            "seconds": round(seconds, 2),
            "commit": job.commit,
            "command": job.command,
            "settings": dict(cell.settings),
            "curve": tuple(trained.curve),
            "layers": trained.layers,
        }
    )


def _word_errors(assessment: Assessment) -> WordErrors:
    found, words = assessment.word_interval, assessment.words
    return WordErrors(
        rate=words.rate,
        low=found.low if found else None,
        high=found.high if found else None,
        level=LEVEL,
        errors=words.errors,
        words=words.reference_length,
        by_speaker=tuple((one.words.errors, one.words.reference_length) for one in assessment.speakers),
    )
