"""What a report for the public may hold: an allow-list, file by file and field by field.

Guarantee:
    A public report is made of the values below and of nothing else. Each is one of

    - a public fact of the plan (N, S, T, z, delta, C and the settings of `SETTINGS`),
    - a noised number that the ledger covers (`METRICS`), or what follows from such numbers alone,
    - an error rate on held-out speakers who are not in the population (`EVALUATION`).

    `traffic.jsonl`, `not_private.jsonl`, `summary.txt`, checkpoint tensors and models are never opened for
    it. Text passes only where the program itself chose the words. A run without privacy has no public
    report: its ledger covers nothing. Error rates of a run whose held-out speakers may be in the population
    are left out.

docs/privacy.md ("Who sees what") says why: with the number of drawn speakers, who was asked, bytes or
seconds the gain from sampling would be lost, and un-noised metrics are covered by no epsilon.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from base.registries import (
    CLIP_RULES,
    CORPUS_KINDS,
    LANGUAGES,
    LOCAL_ALGORITHMS,
    MODEL_PRESETS,
    NOISE_SHAPES,
    SCHEDULES,
    SERVER_OPTIMISERS,
)
from base.registry import Registry
from privacy.released_metrics import STATISTICS
from recipes import ConfigError, RunConfig
from recipes.places import SEEDS_WITHOUT_FILE
from server.report.metrics import GROUP_FIELDS
from speech.pretrained.store import is_stored_name

Shape = Mapping[str, Any]
"""Names that may be shown, each with `NUMBER` or the shape of what is below it."""
NUMBER = "a number"

METRICS: tuple[str, ...] = (
    *("round", "loss", "wer", "cer", "learning_rate", "clip_bound"),
    *("epsilon_rdp_this_run", "epsilon_rdp_extrapolated", "epsilon_rdp_model", "epsilon_rdp_population"),
    *(f"{one.name}_noised" for one in STATISTICS),
)
"""Fields of a line of metrics.jsonl, all numbers. What is in `ON_HELD_OUT` is left out where it is not
covered."""
ON_HELD_OUT = ("loss", "wer", "cer")

METRICS_BY_GROUP: tuple[str, ...] = tuple(GROUP_FIELDS.values())
"""Fields of a line that are an object with a number for each group of layers. The groups are named after the
model's tensors, and a name is shown where the model's own is and if it looks like one (`_TENSORS`)."""

_COUNTS = {name: NUMBER for name in ("rate", "errors", "of", "substitutions", "insertions", "deletions")}
_INTERVAL = {name: NUMBER for name in ("low", "high", "level")}
_ASSESSMENT: dict[str, Any] = {
    "speakers": NUMBER,
    "utterances": NUMBER,
    "wer": {**_COUNTS, "interval": _INTERVAL},
    "cer": {**_COUNTS, "interval": _INTERVAL},
    "speaker_wer_quantiles": {name: NUMBER for name in ("0", "0.1", "0.25", "0.5", "0.75", "0.9", "1")},
    "worst_tenth": {"speakers": NUMBER, "wer": NUMBER},
}
EVALUATION: Shape = {
    **_ASSESSMENT,
    "hours": NUMBER,
    "against": {**_ASSESSMENT, "wer_difference": NUMBER, "interval": _INTERVAL, "speakers_better": NUMBER},
}
"""Of evaluation.json, and of a file of `murmur evaluate --json`. Names of speakers, transcripts and the
values of fields are not in it: the corpus' owner adds them by --corpus-may-be-published."""

OF_A_PUBLISHED_CORPUS = ("by_speaker", "worst_utterances", "by")
"""What --corpus-may-be-published adds of a file of `murmur evaluate --json`; recordings lie in the worst
utterances."""

SETTINGS: tuple[str, ...] = (
    *("corpus.kind", "corpus.language", "corpus.max-seconds", "corpus.unspelled", "corpus.normaliser"),
    *("corpus.shared-speakers", "training.rounds", "training.cohort"),
    *("training.evaluate-every", "training.evaluate-share"),
    *("model.name", "model.seed", "model.trainable", "model.window", "model.head", "model.adapters"),
    *("model.adapter-rank", "model.adapter-alpha", "model.adapter-train", "model.cache-frozen"),
    *("local.algorithm", "local.proximal-mu", "local.optimiser", "local.momentum", "local.beta1"),
    *("local.beta2", "local.epsilon", "local.learning-rate", "local.batch-size", "local.batch-seconds"),
    *("local.epochs", "local.steps", "local.gradient-clip", "local.most-utterances", "local.most-seconds"),
    *("local.dropout", "local.layer-drop", "local.spec-augment", "local.spec-augment-after"),
    *("local.freq-masks", "local.freq-width", "local.time-masks", "local.time-width", "local.time-ratio"),
    *("local.precision", "local.clip", "local.micro-batch", "local.clip-cores"),
    *("server.optimiser", "server.learning-rate", "server.schedule", "server.warm-up-rounds"),
    *("server.decay-after", "server.decay-every", "server.decay-factor", "server.final-factor"),
    *("server.beta1", "server.beta2", "server.epsilon", "server.momentum", "server.initial-accumulator"),
    *("server.trust-ratio-cap", "server.trust-coefficient", "server.weight-decay", "server.averaging"),
    *("server.averaging-decay", "server.averaging-share", "server.anchor-kind", "server.anchor-steps"),
    *("server.anchor-rate", "server.anchor-batch-seconds"),
    *("privacy.population", "privacy.noise-multiplier", "privacy.target-epsilon", "privacy.delta"),
    *("privacy.epsilon-budget", "privacy.clip-rule", "privacy.clip-exponent", "privacy.clip-action"),
    *("privacy.clip-bound", "privacy.noise-shape", "privacy.adaptive-clip", "privacy.adaptive-quantile"),
    *("privacy.adaptive-rate", "privacy.group-statistics"),
    *("privacy.bands", "privacy.cohort-cap", "privacy.noise-source"),
    *("privacy.quantisation-bits", "privacy.extrapolate-population", "privacy.extrapolate-cohort"),
    "run.raw-metrics",
)
"""Keys of the recipe. Paths, names of speakers, populations and machines, and free text are not in it."""

OF_REGISTRIES: Mapping[str, Registry] = {
    "corpus.kind": CORPUS_KINDS,
    "corpus.language": LANGUAGES,
    "local.algorithm": LOCAL_ALGORITHMS,
    "server.optimiser": SERVER_OPTIMISERS,
    "server.schedule": SCHEDULES,
    "server.anchor-kind": CORPUS_KINDS,
    "privacy.clip-rule": CLIP_RULES,
    "privacy.noise-shape": NOISE_SHAPES,
}
"""Settings whose names other packages can add to; such names are the owner's words and are left out."""

_PATTERNS = re.compile(r"[A-Za-z0-9_.*,\-? ]{0,400}")
_TENSORS = re.compile(r"[A-Za-z0-9_.]{1,100}( to [A-Za-z0-9_.]{1,100})?")


def public_settings(config: RunConfig) -> dict[str, Any]:
    """The settings that may be shown; one with a path or text of its own in its place is left out."""
    flat = config.to_flat()
    return {key: flat[key] for key in SETTINGS if key in flat and _may_be_shown(key, flat[key], config)}


def _may_be_shown(key: str, value: Any, config: RunConfig) -> bool:
    if not isinstance(value, str):
        return isinstance(value, bool | int | float)
    if key == "model.name":
        return MODEL_PRESETS.is_ours(value) if config.model.is_preset else is_stored_name(value)
    if key == "model.seed":
        return value in SEEDS_WITHOUT_FILE
    if key in OF_REGISTRIES:
        return not value or OF_REGISTRIES[key].is_ours(value)
    if key in ("model.trainable", "model.adapters"):  # patterns of tensor names, as on the model card
        return _PATTERNS.fullmatch(value) is not None
    return True  # one of the names that the recipe's schema allows


def public_metrics(line: Mapping[str, Any], *, held_out: bool, named: bool = True) -> dict[str, Any]:
    """A line of metrics.jsonl with the fields of `METRICS` and `METRICS_BY_GROUP`.

    Args:
        line: The line.
        held_out: Whether error rates may be shown (`may_show_held_out`).
        named: Whether groups of layers have their names, which are of the model's tensors, or numbers.
    """
    names = [name for name in METRICS if held_out or name not in ON_HELD_OUT]
    by_group = {name: numbers_by_group(line[name], named=named) for name in METRICS_BY_GROUP if name in line}
    return {name: number(line[name]) for name in names if name in line} | by_group


def numbers_by_group(value: object, *, named: bool = True) -> dict[str, float | None]:
    """The numbers of an object by group, which is numbered if its name looks unlike those of tensors.

    Example:
        >>> numbers_by_group({"blocks.0 to out": 0.5, "/home/ann": 1.0, "front": "ann"})
        {'blocks.0 to out': 0.5, 'group 2': 1.0, 'front': None}
    """
    found: Mapping[str, Any] = value if isinstance(value, Mapping) else {}
    return {
        name if named and _TENSORS.fullmatch(name) else f"group {index}": number(one)
        for index, (name, one) in enumerate(found.items(), start=1)
    }


def public_evaluation(found: Mapping[str, Any], *, corpus_may_be_published: bool) -> dict[str, Any]:
    """The evaluation with the fields of `EVALUATION`, and what a published corpus adds.

    Raises:
        ConfigError: If the evaluation warns that it may be of speakers of the population, or compares with a
            model that is not of the run, as its seed is.
    """
    if found.get("warnings"):
        raise ConfigError(
            "--evaluation: it warns that no epsilon covers its figures, so they can be in no public report: "
            "leave --evaluation out, evaluate on other speakers, or make the report --for owner"
        )
    _require_covered(found.get("against"), found.get("run"))
    shown = picked(found, EVALUATION)
    if corpus_may_be_published:
        shown |= {name: found[name] for name in OF_A_PUBLISHED_CORPUS if name in found}
    return shown


def _require_covered(against: object, run: object) -> None:
    """Refuse a comparison with a model that is not of the run `run`: what made another is not known here."""
    if against is None or (isinstance(against, Mapping) and run and against.get("run") == run):
        return
    other = against.get("model") if isinstance(against, Mapping) else against
    raise ConfigError(
        f"--evaluation: compares with {other}, which is not of this run, and no epsilon of it covers that: "
        "evaluate again with --against RUN/seed.safetensors or without, or make the report --for owner"
    )


def run_name(run: str) -> str:
    """Return the name of a run on a public page, from its id; an older run's is the name of its folder."""
    return run[:8] if re.fullmatch("[0-9a-f]{32}", run) else hashlib.sha256(run.encode()).hexdigest()[:8]


def picked(value: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    """The parts of `value` that `shape` names and that are numbers.

    Example:
        >>> picked({"wer": {"rate": 0.5, "speaker": "ann"}, "model": "/x", "hours": "1"}, EVALUATION)
        {'wer': {'rate': 0.5}, 'hours': None}
    """
    found: dict[str, Any] = {}
    for name, below in shape.items():
        if name not in value:
            continue
        if below == NUMBER:
            found[name] = number(value[name])
        elif isinstance(value[name], Mapping):
            found[name] = picked(value[name], below)
    return found


def number(value: object) -> float | None:
    """`value` if it is a number; infinity as metrics.jsonl writes it is one; else None."""
    if value == "inf":
        return math.inf
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        float(value)
    except OverflowError:  # a whole number beyond all floats
        return None
    return value


def may_show_held_out(config: RunConfig, evaluation: Mapping[str, Any] | None) -> bool:
    """Whether error rates are of speakers outside the population.

    With `corpus.shared-speakers` they may be of its own, and then no epsilon covers them. Without it the
    server refuses a corpus whose speakers are in two splits, before the first round.
    """
    shared = (evaluation or {}).get("speakers_in_training", 0)
    return not config.corpus.shared_speakers and shared == 0


def require_private(names: Sequence[str]) -> None:
    """Raise `ConfigError` if any of the runs named is without privacy."""
    if names:
        raise ConfigError(
            f"--for public: {', '.join(names)} added no secret noise, so its ledger covers nothing that "
            "could be shown; make the report --for owner, and judge for yourself what of it may be "
            "published"
        )
