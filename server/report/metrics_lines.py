"""The lines of metrics.jsonl: their schema, and how they are read, also while a run writes them.

docs/metrics.md has the fields and their meaning, which are those of `MetricsLine`.

Guarantee: the fields are public facts and noised numbers only (`server/report/metrics.py`); a line with a
field that is not in the schema is refused, so its readers show and send on nothing else of a run folder.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

VERSION = 1
METRICS_FILE = "metrics.jsonl"
INFINITE = "inf"
EARLIER_NAMES = {"epsilon_rdp_people": "epsilon_rdp_population"}


class MetricsError(ValueError):
    """A file is no metrics file; the message names the file, the line, the fault and the remedy."""


def _number(value: object) -> object:
    """`json_lines` writes null for what was not measured, and "inf" for an epsilon without a bound."""
    if value is None:
        return math.nan
    return math.inf if value == INFINITE else value


Number = Annotated[float, Field(allow_inf_nan=True), BeforeValidator(_number)]
ByGroup = dict[str, Number]
"""By the name of a group of layers (`privacy.layer_groups`)."""


class MetricsLine(BaseModel):
    """A round, or the start of a run (round 0) or of a resumed run (`resumed`). What is absent is None.

    Example:
        >>> line = MetricsLine.model_validate_json(
        ...     '{"version": 1, "round": 2, "loss": null, "wer": 0.5, "cer": 0.2, "privacy": "private", '
        ...     '"epsilon_rdp_this_run": "inf", "epsilon_rdp_extrapolated": 1.5}'
        ... )
        >>> line.round, line.wer, line.epsilon_rdp_this_run, line.learning_rate
        (2, 0.5, inf, None)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: int = Field(default=VERSION, description=f"of this schema: {VERSION}")
    round: int = Field(ge=0, description="number of the round; 0 is the seed model")
    loss: Number = Field(description="mean loss on the held-out speech, in nats per utterance")
    wer: Number = Field(description="word error rate on it, a fraction: 0.25 is 25 %")
    cer: Number = Field(description="character error rate on it, a fraction")
    epsilon_rdp_this_run: Number = Field(
        description="epsilon of this run so far, with its own population and cohort: the true one (RDP)"
    )
    epsilon_rdp_extrapolated: Number = Field(
        description="epsilon of as many rounds with the same noise on the mean in the recipe's larger "
        "population and cohort; not of this run, never in place of the true one"
    )
    epsilon_rdp_model: Number | None = Field(
        default=None, description="this run and the private runs that made its seed model, together; if any"
    )
    epsilon_rdp_population: Number | None = Field(
        default=None, description="this run and earlier runs on the same speakers, together; if any"
    )
    learning_rate: Number | None = Field(default=None, description="of the server's step")
    clip_bound: Number | None = Field(
        default=None, description="C, the most that one speaker's update may have, as a norm"
    )
    clipped_share_noised: Number | None = Field(
        default=None, description="share of layers that were clipped, released with noise and charged"
    )
    train_loss_noised: Number | None = Field(
        default=None, description="mean training loss of the speakers, released with noise and charged"
    )
    group_update_norm_noised: ByGroup | None = Field(
        default=None,
        description="by group of layers: geometric mean of the norms of the speakers' updates before "
        "clipping, released with noise and charged; only with privacy.group-statistics",
    )
    group_clipped_share_noised: ByGroup | None = Field(
        default=None,
        description="by group: share of its tensors that were clipped, released with noise and charged; "
        "only with privacy.group-statistics, and not where one bound is for all tensors",
    )
    group_signal_to_noise: ByGroup | None = Field(
        default=None,
        description="by group: norm of the mean clipped update beside that of its noise, estimated from "
        "the released mean alone; not without noise, nor with bands",
    )
    resumed: bool | None = Field(
        default=None,
        description="true on the first line of a resumed run: it replaces lines above of its round and later",
    )
    privacy: str = Field(
        default="", description="'see ledger.jsonl', or 'none' for a run that protects nobody"
    )

    @property
    def measured(self) -> dict[str, float]:
        """The finite numbers of the line by name, without the version and the round; those of a group by
        "field/group"."""
        values = self.model_dump(exclude={"version", "round", "resumed", "privacy"}, exclude_none=True)
        found: dict[str, float] = {}
        for name, value in values.items():
            found |= (
                {f"{name}/{group}": one for group, one in value.items()}
                if isinstance(value, dict)
                else {name: value}
            )
        return {name: value for name, value in found.items() if math.isfinite(value)}


def read_metrics(folder: Path) -> list[MetricsLine]:
    """Return the rounds of a run in their order, each once; lines that a resumed run replaced are left out.

    A last line without its end is left out too: it is being written, or a crash tore it.

    Args:
        folder: The run folder.

    Raises:
        MetricsError: If the folder has no metrics.jsonl, or a line is not of the schema.
    """
    file = folder / METRICS_FILE
    try:
        *lines, _ = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise MetricsError(
            f"{file}: cannot be read ({error}); give the folder of a run, or its name in the runs folder"
        ) from None
    rounds: dict[int, MetricsLine] = {}
    for number, line in enumerate(lines, start=1):
        read = _read_line(line, f"{file}, line {number}")
        if read.resumed:
            rounds = {before: kept for before, kept in rounds.items() if before < read.round}
        rounds[read.round] = read
    return [rounds[one] for one in sorted(rounds)]


def _read_line(line: str, where: str) -> MetricsLine:
    try:
        values: dict[str, Any] = json.loads(line)
        if isinstance(values, dict) and values.get("version", VERSION) != VERSION:
            raise MetricsError(
                f"{where}: version {values['version']!r}: this release reads version {VERSION}; use the "
                "release that wrote the file"
            )
        if isinstance(values, dict):
            values = {EARLIER_NAMES.get(name, name): value for name, value in values.items()}
        return MetricsLine.model_validate(values)
    except json.JSONDecodeError as error:
        raise MetricsError(f"{where}: is no JSON object ({error.msg}); delete that line") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the line"
        raise MetricsError(
            f"{where}: {field}: {first['msg']} (found {first['input']!r}); docs/metrics.md has the fields"
        ) from None
