"""The rows of the paper's tables as recipes: `recipes/paper/base.toml` with the changes of `rows.toml`.

Nothing is guessed silently: what the paper leaves open stands in a row's `unknown`, what our settings cannot
express in its `needs`.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from cli.composing import Flat, flatten, read_recipe
from cli.paper.epsilon_rows import EpsilonRow, epsilon_rows
from recipes import ConfigError
from recipes.places import PAPER

COHORT, SEED, NOISE = "training.cohort", "model.seed", "privacy.noise-multiplier"
NO_SEED = "none"
PROTECTS_BELOW = 10.0  # the epsilon up to which an extrapolated row is shown beside the run's own

Rates = Mapping[str, float | None]
"""Word error rates in % by split; None where none is printed."""


@dataclass(frozen=True, kw_only=True)
class PaperRow:
    """One training of the paper.

    Args:
        name: TABLE/ROW/VALUE.
        about: what is special about it, in words.
        data: name of the speech of the federation.
        data_about: that speech in words.
        speakers: K, its speakers, in the paper's Table 2.
        prepare: the command that makes its manifest.
        seed: name of the model that training starts from, or "none".
        sigma: sigma_DP in millionths: std of the noise on the mean over the clip bound.
        recipe: the flat recipe, with placeholders for the paths of corpus and seed.
        wer: what is printed.
        at_seed: error rates of the seed.
        central: error rates of a model that is trained on the same speech in one place.
        unknown: what the paper leaves open, and what stands in the recipe instead.
        needs: what our settings cannot express.
    """

    name: str
    about: str
    data: str
    data_about: str
    speakers: int
    prepare: str
    seed: str
    sigma: float
    recipe: Flat
    wer: Rates
    at_seed: Rates
    central: Rates
    unknown: str
    needs: str

    @property
    def changes(self) -> Flat:
        """The settings that differ from the base recipe."""
        base = base_recipe()
        return {key: value for key, value in self.recipe.items() if base.get(key) != value}

    @property
    def epsilons(self) -> tuple[EpsilonRow, ...]:
        """The printed epsilons of this noise: of the training itself, if any, and the extrapolated ones.

        An epsilon does not depend on the seed, so those of Table 1 are those of Table 20 too, which repeats
        three of them.
        """
        mine = (self.data, self.sigma) if self.recipe[COHORT] == 1024 else None
        found = {
            (row.cohort, row.population): row
            for row in reversed(epsilon_rows())
            if (row.data, row.corrected.sigma) == mine
        }
        return tuple(found[scale] for scale in sorted(found))


def _extrapolation(data: str, sigma: float, cohort: float) -> Flat:
    """The extrapolated row that a run shows: the smallest population that is protected, or the best one."""
    rows = [
        row.corrected
        for row in epsilon_rows()
        if (row.data, row.corrected.sigma) == (data, sigma) and row.cohort != cohort
    ]
    protected = [row for row in rows if row.epsilon < PROTECTS_BELOW]
    chosen = (
        min(protected, key=lambda row: row.population)
        if protected
        else min(rows, key=lambda row: row.epsilon, default=None)
    )
    if chosen is None:
        return {}
    scale = {"population": chosen.population, "cohort": float(chosen.cohort)}
    return {f"privacy.extrapolate-{key}": value for key, value in scale.items()}


@cache
def base_recipe() -> Flat:
    """The flat recipe that all rows change."""
    return read_recipe(PAPER / "base.toml")


@cache
def paper_rows() -> tuple[PaperRow, ...]:
    """All rows, in the order of the tables."""
    tables = tomllib.loads((PAPER / "rows.toml").read_text(encoding="utf-8"))
    return tuple(row for group in tables["group"] for row in _rows_of(group, tables))


def find_row(name: str) -> PaperRow:
    """The row of this name.

    Raises:
        ConfigError: If there is none, with the names that are like it.
    """
    rows = {row.name: row for row in paper_rows()}
    if name in rows:
        return rows[name]
    inside = [one for one in rows if one.startswith(name.rstrip("/") + "/")]
    near = inside or difflib.get_close_matches(name, rows, n=6, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else "`murmur paper list` has all"
    raise ConfigError(f"row {name!r}: there is no such row of the paper; {hint}")


def _rows_of(group: Mapping[str, Any], tables: Mapping[str, Any]) -> Iterator[PaperRow]:
    sweep = flatten(group["sweep"])
    for index, value in enumerate(next(iter(sweep.values()))):
        swept = {key: values[index] for key, values in sweep.items()}
        label = value if isinstance(value, str) else f"{value:g}"
        yield _row(group, tables, f"{group['table']}/{group['row']}/{label}", swept, index)


def _row(group: Mapping[str, Any], tables: Mapping[str, Any], name: str, swept: Flat, index: int) -> PaperRow:
    data = tables["data"][group["data"]]
    seed, sigma = swept.pop("seed", group.get("seed")), swept.pop("sigma", group.get("sigma", 0.0))
    parts = [tables["part"][part] for part in group.get("parts", ())]
    changes = [*map(flatten, (data["settings"], *parts, group.get("settings", {}))), swept]
    recipe = {**base_recipe(), **{key: value for one in changes for key, value in one.items()}}
    recipe[SEED] = "random" if seed == NO_SEED else f"seeds/{seed}.safetensors"
    if sigma:
        recipe[NOISE] = float(f"{sigma * 1e-6 * recipe[COHORT]:.12g}")  # z, without the dust of the product
        recipe["privacy.population-name"] = data["ledger"]
        recipe |= _extrapolation(group["data"], sigma, recipe[COHORT])
    return PaperRow(
        name=name,
        about=group["about"],
        data=group["data"],
        data_about=data["about"],
        speakers=data["speakers"],
        prepare=data["prepare"],
        seed=seed,
        sigma=sigma,
        recipe=recipe,
        wer={split: _printed(rates[index]) for split, rates in group["wer"].items()},
        at_seed=group.get("at-seed", {}),
        central=group.get("central", {}),
        unknown=group.get("unknown", ""),
        needs=group.get("needs", ""),
    )


def _printed(rate: float) -> float | None:
    return None if math.isnan(rate) else rate
