"""A result: what one run was, and what came of it, as a JSON file that anybody can add to a folder.

The fields and their meaning are those of `Result`; docs/results_schema.md lists them.

Guarantee: a file that `read_result` returns is complete and agrees with itself, and a file that
`write_result` writes is whole or not there, also after a crash.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)

from base.durable_file import replace_durably
from base.settings import Count, Fraction, NotNegative, Positive, WholeNumber

VERSION = 1
SCHEMA_PAGE = "docs/results_schema.md"
INFINITE = "inf"
TOLERANCE = 1e-6

RESULT, TUNING = "result", "tuning"
Setting = bool | int | float | str


class ResultError(ValueError):
    """A file is no result; the message names the file, each field at fault, its value and the remedy."""


def _from_json(value: object) -> object:
    return math.inf if value == INFINITE else value


def _to_json(value: float) -> float | str:
    return INFINITE if math.isinf(value) else value


EpsilonValue = Annotated[
    float,
    Field(ge=0, allow_inf_nan=True),
    BeforeValidator(_from_json),
    PlainSerializer(_to_json, when_used="json"),
]
Text = Annotated[str, Field(min_length=1)]


class Part(BaseModel):
    """A part of a result."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Model(Part):
    """What was trained."""

    name: Text = Field(description="a preset, or the owner/name of a pre-trained model")
    start: Text = Field(
        description="what it was trained on before: 'embedded', 'random', or words of your own"
    )
    parameters: Count = Field(description="number of parameters")
    trained: Count = Field(description="how many of them were trained")


class Data(Part):
    """What it was trained and evaluated on."""

    name: Text = Field(description="the corpus; word error rates are compared within one corpus only")
    speakers: Text = Field(
        description="how its speech lies on the clients: 'by speaker', 'iid', or other words"
    )
    digest: Text = Field(description="the corpus' digest, which `murmur corpus describe` prints")
    split: Text = Field(description="the split that the error rate is of")


class Privacy(Part):
    """What the run promises to each speaker of its population."""

    epsilon: EpsilonValue = Field(
        description='at the run\'s own population and cohort: the true one; "inf" without noise'
    )
    extrapolated: EpsilonValue | None = Field(
        description="with the same noise on the mean in another population, or null; never in its place"
    )
    extrapolated_population: Count | None = Field(description="that population, or null")
    extrapolated_cohort: Positive | None = Field(description="its expected cohort, or null")
    delta: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="the probability with which epsilon may fail"
    )
    accountant: Literal["RDP", "PLD"] = Field(description="which bound both epsilons are")
    adjacency: Text = Field(description="which two data sets the guarantee compares")

    @model_validator(mode="after")
    def _a_whole_extrapolation(self) -> Privacy:
        parts = (self.extrapolated, self.extrapolated_population, self.extrapolated_cohort)
        if any(part is None for part in parts) != all(part is None for part in parts):
            raise ValueError(
                f"extrapolated = {self.extrapolated}, extrapolated_population = "
                f"{self.extrapolated_population}, extrapolated_cohort = {self.extrapolated_cohort}: give all "
                "three, or null for all"
            )
        return self


class WordErrors(Part):
    """The word error rate on speakers who were not trained on."""

    rate: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(description="a fraction: 0.25 is 25 %")
    low: NotNegative | None = Field(description="lower end of its interval over speakers, or null")
    high: NotNegative | None = Field(description="upper end, or null")
    level: Fraction = Field(description="confidence of the interval, such as 0.95")
    errors: WholeNumber = Field(description="substitutions, insertions and deletions")
    words: Count = Field(description="words of the references")
    by_speaker: tuple[tuple[WholeNumber, WholeNumber], ...] = Field(
        description="[errors, words] of each speaker in a fixed order, without names; [] if they are not told"
    )

    @model_validator(mode="after")
    def _agrees(self) -> WordErrors:
        if abs(self.rate - self.errors / self.words) > TOLERANCE:
            raise ValueError(
                f"rate = {self.rate}: {self.errors} errors of {self.words} words are "
                f"{self.errors / self.words:.6f}; a rate is a fraction"
            )
        if (self.low is None) != (self.high is None):
            raise ValueError(f"low = {self.low} and high = {self.high}: give both, or null for both")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low = {self.low} and high = {self.high}: they are the wrong way round")
        totals = tuple(map(sum, zip(*self.by_speaker, strict=True)))
        if totals and totals != (self.errors, self.words):
            raise ValueError(
                f"by_speaker adds up to {totals[0]} errors of {totals[1]} words, and errors = {self.errors}, "
                f"words = {self.words}"
            )
        return self


class Layers(Part):
    """What a run without noise shows of its layers; no guarantee covers it. Optional, for experiments"""

    tensors: tuple[Text, ...] = Field(description="names of the trained tensors")
    sizes: tuple[Count, ...] = Field(description="their numbers of values")
    rounds: tuple[Count, ...] = Field(description="the rounds in which somebody was trained")
    update_norms: tuple[tuple[NotNegative, ...], ...] = Field(
        description="for each of these rounds and tensors: the speakers' mean L2 norm before clipping"
    )
    mean_norms: tuple[tuple[NotNegative, ...], ...] = Field(
        description="for each of these rounds and tensors: the L2 norm of the mean of the clipped updates"
    )
    smoothness: tuple[NotNegative, ...] = Field(
        description="change of the mean update over change of the model (norms), by round from the second"
    )

    @model_validator(mode="after")
    def _agrees(self) -> Layers:
        if len(self.sizes) != len(self.tensors):
            raise ValueError(f"{len(self.tensors)} tensors have {len(self.sizes)} sizes")
        for name, table in (("update_norms", self.update_norms), ("mean_norms", self.mean_norms)):
            if len(table) != len(self.rounds) or any(len(line) != len(self.tensors) for line in table):
                raise ValueError(
                    f"{name} needs {len(self.tensors)} numbers for each of {len(self.rounds)} rounds"
                )
        return self


class Result(Part):
    """One run."""

    version: Literal[1] = Field(description="of this schema: 1")
    name: Text = Field(
        description="of the run, its own; of ours, the file's path in the folder without .json"
    )
    group: Text = Field(
        description="the same for runs that differ in their seed alone; one line of the board"
    )
    seed: WholeNumber = Field(description="number of the run in its group")
    purpose: Literal["result", "tuning"] = Field(
        description="'tuning' for a run that chose a setting on another split; the board leaves it out"
    )
    model: Model = Field(description=Model.__doc__)
    data: Data = Field(description=Data.__doc__)
    population: Count = Field(description="speakers who could be drawn")
    cohort: Positive = Field(description="expected speakers of a round; the population for central training")
    rounds: Count = Field(description="rounds; steps for central training")
    privacy: Privacy = Field(description=Privacy.__doc__)
    wer: WordErrors = Field(description=WordErrors.__doc__)
    seconds: NotNegative = Field(description="wall-clock seconds of the run with its evaluation")
    commit: Text = Field(description="of this project, with +changes if files differed; or a release")
    command: Text = Field(description="that runs it again")
    settings: dict[str, Setting] = Field(description="all settings that are not the defaults, by key")
    curve: tuple[dict[str, float | int | str | None], ...] = Field(
        description="the run's own metrics, a line each evaluation or round (metrics.jsonl)"
    )
    layers: Layers | None = Field(default=None, description=Layers.__doc__)


def read_result(path: Path) -> Result:
    """Return the result of a file.

    Raises:
        ResultError: If it cannot be read, or is no result.
    """
    try:
        return Result.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ResultError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        raise ResultError(_explained(path, error)) from None


def read_results(folder: Path) -> dict[Path, Result]:
    """Return all results below a folder, by their paths, sorted.

    Raises:
        ResultError: If there is no such folder, or a file is no result.
    """
    if not folder.is_dir():
        raise ResultError(
            f"results folder {folder}: there is none; `murmur paper small` makes it, --folder names another"
        )
    return {path: read_result(path) for path in sorted(folder.rglob("*.json"))}


def write_result(path: Path, result: Result) -> None:
    """Write a result, as a whole and durably."""
    path.parent.mkdir(parents=True, exist_ok=True)
    left_out = {"layers"} if result.layers is None else None
    text = json.dumps(result.model_dump(mode="json", exclude=left_out), indent=1, allow_nan=False)
    replace_durably(path, f"{text}\n".encode())


def _explained(path: Path, error: ValidationError) -> str:
    faults = [
        f"  - {'.'.join(map(str, fault['loc'])) or 'the file'}{_shown(fault['input'])}: "
        f"{fault['msg'].removeprefix('Value error, ')}"
        for fault in error.errors()
    ]
    return "\n".join([f"{path} is no result ({SCHEMA_PAGE} has the fields):", *faults])


def _shown(value: Any) -> str:
    return f" = {value!r}" if isinstance(value, bool | int | float | str) and len(repr(value)) < 80 else ""


def fields_of(part: type[BaseModel] = Result, prefix: str = "") -> Sequence[tuple[str, str]]:
    """Return every field "wer.rate" with its description, in order: the lines of the schema's page."""
    found: list[tuple[str, str]] = []
    for name, field in part.model_fields.items():
        kinds = get_args(field.annotation) if field.default is None else (field.annotation,)
        part_of = [one for one in kinds if isinstance(one, type) and issubclass(one, BaseModel)]
        if part_of:
            found += [(f"{prefix}{name}", field.description or "")] if field.default is None else []
            found += fields_of(part_of[0], f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", field.description or ""))
    return found
