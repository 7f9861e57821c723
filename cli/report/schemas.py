"""What the files that only owners see, and evaluations, must hold before anything is made of them.

Guarantee: what does not hold it is one `ConfigError` with the file, the line, the field and the remedy. What
else a line or a file has is left alone: earlier and later releases may have written more.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from recipes import ConfigError
from server.storage.json_lines import read_lines
from server.storage.run_folder import MOST_ROUNDS

Round = Annotated[int, Field(ge=0, lt=MOST_ROUNDS)]
Count = Annotated[int, Field(ge=0, lt=2**64)]  # node numbers of Flower are as large
Rate = Annotated[float, Field(ge=-1e9, le=1e9)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)


class Drop(_Part):
    """A node that was left out of a round."""

    node: Count
    reason: str


class RoundTraffic(_Part):
    """A round in traffic.jsonl."""

    round: Round
    drawn: Count
    nodes_asked: Count
    nodes_answered: Count
    dropped: list[Drop] = []
    bytes_down: Count
    bytes_up: Count
    seconds: Annotated[float, Field(ge=0)]


class NodeTraffic(_Part):
    """A node in a round in traffic.jsonl."""

    round: Round
    node: Count
    bytes_down: Count
    bytes_up: Count


class RawNorms(_Part):
    """A node in a round in not_private.jsonl; `speakers` is how many it trained."""

    round: Round
    node: Count
    speakers: Count = Field(default=0, validation_alias=AliasChoices("trained", "speakers"))
    update_norms: list[Annotated[float, Field(ge=0)]] = []


class _RawHead(_Part):
    tensors: list[str] = []


class _Interval(_Part):
    low: Rate
    high: Rate


class _Measured(_Part):
    rate: Rate | None = None
    interval: _Interval | None = None


class _Speaker(_Part):
    wer: Rate | None = None
    words: Count


class _Utterance(_Part):
    id: str
    speaker: str
    errors: Count
    reference: str
    hypothesis: str


class _Group(_Part):
    wer: _Measured
    speakers: Count


class _Groups(_Part):
    field: str
    values: dict[str, _Group]


class _Tenth(_Part):
    wer: Rate | None = None


class _Against(_Part):
    wer: _Measured | None = None
    wer_difference: Rate | None = None
    interval: _Interval | None = None


class EvaluationFile(_Part):
    """evaluation.json, and what `murmur evaluate --json` writes: the parts that a page is made of."""

    wer: _Measured | None = None
    cer: _Measured | None = None
    by_speaker: dict[str, _Speaker] = {}
    worst_utterances: list[_Utterance] = []
    speaker_wer_quantiles: dict[str, Rate | None] = {}
    worst_tenth: _Tenth | None = None
    by: _Groups | None = None
    against: _Against | None = None


Part = TypeVar("Part", bound=_Part)
_REMEDY = "restore the file from a copy"


def checked(part: type[Part], values: Mapping[str, Any], place: str, remedy: str) -> Part:
    """Return `values` as a `part`.

    Raises:
        ConfigError: Naming the place, the first field that is missing or wrong, and the remedy.
    """
    try:
        return part.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise ConfigError(f"{place}: has no {name!r}; {remedy}") from None
        raise ConfigError(f"{place}: {name} = {first['input']!r:.60}: {first['msg']}; {remedy}") from None


def traffic_lines(file: Path) -> tuple[list[RoundTraffic], list[NodeTraffic]]:
    """Return the lines of a traffic.jsonl by their kinds, in order; raises as `checked`."""
    rounds, nodes = [], []
    for place, line in _placed(file):
        if "keep_secret" in line:
            continue
        if "node" in line:
            nodes.append(checked(NodeTraffic, line, place, _REMEDY))
        else:
            rounds.append(checked(RoundTraffic, line, place, _REMEDY))
    return rounds, nodes


def norm_lines(file: Path) -> tuple[tuple[str, ...], list[RawNorms]]:
    """Return the names of the tensors and the lines of a not_private.jsonl; raises as `checked`.

    Only lines with a norm for each of the tensors are returned.
    """
    head, *lines = [*_placed(file)] or [("", {})]
    tensors = tuple(checked(_RawHead, head[1], head[0], _REMEDY).tensors)
    found = [checked(RawNorms, line, place, _REMEDY) for place, line in lines]
    return tensors, [
        one for one in found if tensors and one.speakers and len(one.update_norms) == len(tensors)
    ]


def _placed(file: Path) -> list[tuple[str, dict[str, Any]]]:
    return [(f"{file}:{number}", line) for number, line in enumerate(read_lines(file), 1)]
