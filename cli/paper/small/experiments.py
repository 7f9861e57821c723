"""The experiments of a file in recipes/paper/ (or another file like it), read and checked.

Guarantee: what `read_study` returns names only cells that are there, so that an error comes before any run.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from base.settings import explained
from cli.composing import default_config, flatten
from recipes import ConfigError
from recipes.places import PAPER

SMALL = PAPER / "small.toml"
# Those whose results the book always has.
STUDIES = (SMALL, PAPER / "small-real.toml", PAPER / "small-whisper.toml")
Setting = bool | int | float | str
Settings = dict[str, Setting]
Grid = dict[str, tuple[Setting, ...]]
FEDERATED, CENTRAL = "federated", "central"
BY_SPEAKER, IID = "by speaker", "iid"
EMBEDDED, RANDOM, GROWN, BASE = "embedded", "random", "grown", "base"
PRESET, RAW, SHARED = "model.name", "run.raw-metrics", "corpus.shared-speakers"
COHORT = "training.cohort"
NOISY = ("privacy.noise-multiplier", "privacy.target-epsilon")
STUDY = "study."  # begins the settings of a cell that are not those of a run (`cli.paper.small.inside`)
STUDY_KEYS = LOOK, NOISE_ON, NOISE = "study.look-inside", "study.noise-on", "study.noise"


class _Table(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=lambda name: name.replace("_", "-"),
        populate_by_name=True,
    )


class _Cells(_Table):
    name: str = Field(min_length=1)
    trainer: Literal["federated", "central"] = "federated"
    speakers: Literal["by speaker", "iid"] = "by speaker"
    start: Literal["embedded", "random", "grown", "base"] = "embedded"
    settings: Settings = {}
    full: Settings = {}
    only_full: bool = False
    sweep: Grid = {}
    tune: Grid = {}
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = ()


class Claim(_Table):
    """What is expected of the WER of `of` beside that of `against`, or of every value of `key`."""

    text: str
    of: str = ""
    key: str = ""
    against: str
    expect: Literal["", "below", "above", "within", "ratio-below"]
    margin: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _one_of_both(self) -> Claim:
        if bool(self.of) == bool(self.key):
            raise ValueError(f"of = {self.of!r} and key = {self.key!r}: give one of them")
        if (self.margin > 0) != (self.expect in ("within", "ratio-below")):
            raise ValueError(
                f"expect = {self.expect!r} and margin = {self.margin:g}: 'within' and 'ratio-below' need a "
                "margin, and nothing else has one"
            )
        return self


class Experiment(_Table):
    """A question with the cells that answer it."""

    name: str = Field(pattern="^[a-z0-9-]+$")
    title: str
    question: str
    setting: str
    cells: tuple[str, ...] = Field(min_length=1)
    x: str = ""
    section: str = ""
    claims: tuple[Claim, ...] = ()
    only_full: bool = False
    on_request: bool = False


class _File(_Table):
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    tuning_seed: Annotated[int, Field(ge=0)]
    dev_share: Annotated[float, Field(gt=0, lt=1)]
    settings: dict[str, Any]
    full: dict[str, Any] = {}
    note: str = ""
    cells: tuple[_Cells, ...] = Field(min_length=1)
    experiments: tuple[Experiment, ...] = Field(min_length=1)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Runs that differ in their seed alone.

    Args:
        name: its own, such as "clip/global/clip/0.03".
        trainer: "federated" or "central".
        speakers: "by speaker" or "iid".
        start: "embedded", "random", "grown" (the embedded seed with more blocks), or "base": a pre-trained
            model's own weights.
        settings: of the run configuration, or of central training, that are not the defaults.
        varied: those of them that the sweep sets.
        tune: the grid of settings that are chosen on dev; empty for none.
        seeds: those of its runs.
    """

    name: str
    trainer: str
    speakers: str
    start: str
    settings: Mapping[str, Setting]
    varied: Mapping[str, Setting]
    tune: Mapping[str, tuple[Setting, ...]]
    seeds: tuple[int, ...]

    @property
    def preset(self) -> str:
        """The model preset that it trains."""
        return str(self.settings.get(PRESET, "tiny"))

    @property
    def run_settings(self) -> Settings:
        """The settings of the run configuration; a cell that looks inside asks for un-noised metrics."""
        own = {key: value for key, value in self.settings.items() if not key.startswith(STUDY)}
        return {**own, RAW: True} if self.settings.get(LOOK) else own

    @property
    def choices(self) -> list[Settings]:
        """Every combination of the grid; none if nothing is tuned."""
        return _combinations(self.tune) if self.tune else []

    def chosen(self, choice: Mapping[str, Setting]) -> Cell:
        """The cell with a choice of the grid as its settings."""
        return replace(self, settings={**self.settings, **choice})


@dataclass(frozen=True, kw_only=True)
class Study:
    """All cells, and the experiments that are made of them.

    Args:
        name: its own, which begins the names of its results: that of its file without .toml.
        file: its file, without the folders of this machine.
        note: what the book says before its experiments; "" for nothing.
        tuning_seed: the seed of the runs that choose settings.
        dev_share: of the training speakers, for dev, where a corpus has none.
        shared_speakers: whether a speaker of its test split may be in the population.
        full: whether it has its full size.
        cells: all, by name.
        experiments: all, by name.
    """

    name: str
    file: str
    note: str
    tuning_seed: int
    dev_share: float
    shared_speakers: bool
    full: bool
    cells: Mapping[str, Cell]
    experiments: Mapping[str, Experiment]

    @property
    def size(self) -> str:
        """The name of its size: "short" or "full"."""
        return "full" if self.full else "short"

    def cells_of(self, experiment: Experiment) -> list[Cell]:
        """The cells of an experiment, in the order of the file."""
        return [
            cell for name, cell in self.cells.items() if any(matches(name, one) for one in experiment.cells)
        ]

    def chosen(self, names: Sequence[str]) -> list[Experiment]:
        """The experiments of these names; without any all but, at the short size, those on request.

        Raises:
            ConfigError: For a name that no experiment has.
        """
        if unknown := [name for name in names if name not in self.experiments]:
            raise ConfigError(
                f"experiment {unknown[0]!r}: there is none; there are {', '.join(self.experiments)}"
            )
        usual = [name for name, one in self.experiments.items() if self.full or not one.on_request]
        return [self.experiments[name] for name in names or usual]


def matches(name: str, wanted: str) -> bool:
    """Whether a cell is the wanted one, one of a sweep that is wanted as a whole, or one of a pattern."""
    return name == wanted or name.startswith(f"{wanted}/") or fnmatchcase(name, wanted)


def read_study(path: Path = SMALL, *, full: bool = False) -> Study:
    """Return the study of a file, at its short or its full size.

    Raises:
        ConfigError: If the file is no study, or names a cell or a setting that is not there.
    """
    try:
        file = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"experiments {path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        raise ConfigError(f"experiments {path}:\n{explained(error, _File)}") from None
    except ValueError as error:
        raise ConfigError(f"experiments {path} is no TOML: {error}") from error
    base = {**flatten(file.settings), **(flatten(file.full) if full else {})}
    cells = {
        cell.name: cell
        for one in file.cells
        if full or not one.only_full
        for cell in _cells(one, base, file.seeds, full)
    }
    study = Study(
        name=path.stem,
        file=f"recipes/paper/{path.name}" if path.resolve().parent == PAPER.resolve() else path.name,
        note=file.note,
        shared_speakers=base.get(SHARED) is True,
        tuning_seed=file.tuning_seed,
        dev_share=file.dev_share,
        full=full,
        cells=cells,
        experiments={one.name: one for one in file.experiments if full or not one.only_full},
    )
    _require_known(path, study)
    return study


def _cells(table: _Cells, base: Settings, seeds: tuple[int, ...], full: bool) -> list[Cell]:
    own = {**table.settings, **(table.full if full else {})}
    common = own if table.trainer == CENTRAL else {**base, **own}
    return [
        Cell(
            name="/".join([table.name, *map(word, varied.values())]),
            trainer=table.trainer,
            speakers=table.speakers,
            start=table.start,
            settings={**common, **varied},
            varied=varied,
            tune=table.tune,
            seeds=table.seeds or seeds,
        )
        for varied in _combinations(table.sweep)
    ]


def _combinations(grid: Mapping[str, Sequence[Setting]]) -> list[Settings]:
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def word(value: Setting) -> str:
    """A setting's value as a part of a name: 8.0 is "8"."""
    return f"{value:g}" if isinstance(value, float) else f"{value}"


def _require_known(path: Path, study: Study) -> None:
    keys = (*default_config(), *STUDY_KEYS)
    for cell in study.cells.values():
        unknown = [key for key in (*cell.settings, *cell.tune) if key not in keys]
        if cell.trainer == FEDERATED and unknown:
            raise ConfigError(
                f"experiments {path}: cell {cell.name}: no setting {unknown[0]!r}; `murmur recipe` lists them"
            )
        _require_no_privacy(path, cell)
    for experiment in study.experiments.values():
        sides = [side for claim in experiment.claims if claim.of for side in (claim.of, claim.against)]
        for wanted in (*experiment.cells, *sides):
            if not any(matches(name, wanted) for name in study.cells):
                raise ConfigError(f"experiments {path}: experiment {experiment.name}: no cell {wanted!r}")


def _require_no_privacy(path: Path, cell: Cell) -> None:
    """Refuse a look inside, or noise on a group, in a run that promises something."""
    asked = [key for key in STUDY_KEYS if key in cell.settings]
    given = {**(default_config() if cell.trainer == FEDERATED else {}), **cell.settings}
    noise = [key for key in NOISY if given.get(key) or any(cell.tune.get(key, ()))]
    if asked and noise:
        raise ConfigError(
            f"experiments {path}: cell {cell.name}: {asked[0]} with {noise[0]} = "
            f"{given.get(noise[0])}: it is for runs without privacy; set {noise[0]} to 0"
        )
    if (NOISE_ON in cell.settings) != (NOISE in cell.settings) or (
        LOOK in cell.settings and NOISE_ON in asked
    ):
        raise ConfigError(
            f"experiments {path}: cell {cell.name}: {NOISE_ON} and {NOISE} belong together, without {LOOK}"
        )
