"""The section "Evaluation" of a model card, from evaluation.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recipes import ConfigError
from server.report.model_facts import ModelFacts
from server.storage.run_folder import RESTORE

Number = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _Interval(_Part):
    low: Number
    high: Number
    level: Number


class _Rate(_Part):
    rate: Number
    interval: _Interval | None
    substitutions: int
    insertions: int
    deletions: int
    of: int


class _Quantiles(_Part):
    best: Number = Field(alias="0")
    median: Number = Field(alias="0.5")
    worst: Number = Field(alias="1")


class _Tenth(_Part):
    speakers: int
    wer: Number


class _Evaluation(_Part):
    """What a card has of evaluation.json; earlier and later releases may have written more."""

    split: str
    hours: Number
    speakers: int
    utterances: int
    speakers_in_training: int
    wer: _Rate
    cer: _Rate
    speaker_wer_quantiles: _Quantiles
    worst_tenth: _Tenth


def require_whole(evaluation: Mapping[str, Any], file: Path) -> None:
    """Refuse an evaluation.json that lacks something of a card.

    Raises:
        ConfigError: Naming the file, the field and the remedy.
    """
    try:
        _Evaluation.model_validate(evaluation)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        fault = f"has no {name!r}" if first["type"] == "missing" else f"{name!r}: {first['msg']}"
        raise ConfigError(f"{file}: {fault}; {RESTORE}") from None


def evaluation_section(facts: ModelFacts) -> str:
    """Return the error rates with their intervals; what was not measured is reported as missing."""
    return "## Evaluation\n\n" + (
        _measured(facts, facts.evaluation) if facts.evaluation else _from_metrics(facts)
    )


def _measured(facts: ModelFacts, found: dict[str, Any]) -> str:
    rows = "\n".join(_row(name, found, _before(facts, name)) for name in ("wer", "cer"))
    quantiles, tenth = found["speaker_wer_quantiles"], found["worst_tenth"]
    return (
        "Greedy decoding of the held-out speakers; the intervals are bootstrap intervals over speakers.\n\n"
        "| | seed model | this model | interval | substituted | inserted | deleted | of |\n"
        "|---|---|---|---|---|---|---|---|\n"
        f"{rows}\n\n"
        f"WER by speaker: best {_percent(quantiles['0'])}, median {_percent(quantiles['0.5'])}, "
        f"worst {_percent(quantiles['1'])}; the worst tenth ({tenth['speakers']} speakers) together "
        f"{_percent(tenth['wer'])}."
    )


def _row(name: str, evaluation: dict[str, Any], before: str) -> str:
    found = evaluation[name]
    title = f"{name.upper()} ({evaluation.get('normaliser', 'characters')})"
    kinds = " | ".join(f"{found[kind]:,}" for kind in ("substitutions", "insertions", "deletions", "of"))
    return f"| {title} | {before} | {_percent(found['rate'])} | {_range(found['interval'])} | {kinds} |"


def _range(interval: dict[str, float] | None) -> str:
    if interval is None:
        return "none: one speaker only"
    level = f"{interval['level']:.0%}"
    return f"{100 * interval['low']:.1f} to {100 * interval['high']:.1f} % ({level})"


def _before(facts: ModelFacts, name: str) -> str:
    rate = (facts.seed_metrics or {}).get(name)
    return "missing" if rate is None else _percent(rate)


def _from_metrics(facts: ModelFacts) -> str:
    """The last line of metrics.jsonl, for a run that ended early."""
    last = facts.final_metrics or {}
    missing = (
        "Error counts and intervals are missing, because the run did not finish. `murmur evaluate` computes "
        "them."
    )
    if last.get("wer") is None or last.get("cer") is None:
        return f"WER and CER of this model are missing. {missing}"
    return f"After round {last['round']}: WER {_percent(last['wer'])}, CER {_percent(last['cer'])}. {missing}"


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f} %"
