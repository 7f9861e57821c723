"""The runs of a study: which there are, where the result of each lies, and whether it is there already.

Guarantee: a result counts as there only if its file is whole and has the settings that the study has now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.paper.results.record import RESULT, TUNING, Result, ResultError, read_result
from cli.paper.small.experiments import SMALL, Cell, Experiment, Setting, Study, word
from cli.paper.small.speech import DEV, TEST, Source

COMMAND = "murmur paper small"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run, with all that a process needs to make it.

    Args:
        cell: its cell, with the settings that were chosen for it.
        seed: its seed.
        purpose: "result", or "tuning" for a run that is evaluated on dev.
        size: "short" or "full".
        source: the speech.
        name: of its result: the path in the folder of results, without .json.
        group: of its result.
        command: that makes it again.
        commit: of the code.
    """

    cell: Cell
    seed: int
    purpose: str
    size: str
    source: Source
    name: str
    group: str
    command: str
    commit: str

    @property
    def split(self) -> str:
        """The split that it is evaluated on."""
        return DEV if self.purpose == TUNING else TEST

    def path(self, folder: Path) -> Path:
        """The file of its result."""
        return folder / f"{self.name}.json"

    def found(self, folder: Path) -> Result | None:
        """Its result; None if it is not there, is not whole, or has other settings than now."""
        try:
            result = read_result(self.path(folder))
        except ResultError:
            return None
        mine = (dict(self.cell.settings), self.cell.start, self.cell.speakers, self.seed, self.split)
        its = (result.settings, result.model.start, result.data.speakers, result.seed, result.data.split)
        return result if its == mine and result.name == self.name else None


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """Makes the jobs of a study on some speech."""

    study: Study
    source: Source
    commit: str = "unknown"

    @property
    def command(self) -> str:
        """The command that makes runs of this study on this speech."""
        full = " --full" if self.study.full else ""
        file = "" if self.study.name == SMALL.stem else f" --experiments {self.study.file}"
        speech = "" if self.source.name == Source().name else f" --speech {self.source.name}"
        return f"{COMMAND}{full}{file}{speech}"

    def tuning(self, cells: Iterable[Cell]) -> list[Job]:
        """Return the runs that choose the settings of these cells."""
        seed = self.study.tuning_seed
        return [
            self._job(cell.chosen(choice), seed, TUNING, f"tuning-{_named(choice)}")
            for cell in cells
            for choice in cell.choices
        ]

    def results(self, cells: Iterable[Cell], folder: Path) -> list[Job]:
        """Return the runs of these cells that are their results, with the settings that tuning has chosen.

        Raises:
            ResultError: If a run that chooses them is not there.
        """
        settled = [self.settled(cell, folder) for cell in cells]
        return [
            self._job(cell, seed, RESULT, f"seed-{seed}")
            # A node keeps the process and the features of a seed's speech from one run to the next.
            for seed in sorted({seed for cell in settled for seed in cell.seeds})
            for cell in settled
            if seed in cell.seeds
        ]

    def settled(self, cell: Cell, folder: Path) -> Cell:
        """Return the cell with the choice of its grid that had the lowest WER on dev; raises as `results`."""
        found: list[tuple[float, Mapping[str, Setting]]] = []
        for job, choice in zip(self.tuning([cell]), cell.choices, strict=True):
            if (result := job.found(folder)) is None:
                raise ResultError(f"{job.path(folder)}: there is no such result; run `{job.command}`")
            found.append((result.wer.rate, choice))
        if not found:
            return cell
        _, best = min(found, key=lambda one: one[0])  # of equal ones, the first
        return cell.chosen(best)

    def group(self, cell: Cell) -> str:
        """The group of the results of a cell: their folder, in the folder of results."""
        return "/".join((self.study.name, self.study.size, self.source.name, cell.name))

    def _job(self, cell: Cell, seed: int, purpose: str, last: str) -> Job:
        group = self.group(cell)
        return Job(
            cell=cell,
            seed=seed,
            purpose=purpose,
            size=self.study.size,
            source=self.source,
            name=f"{group}/{last}",
            group=group,
            command=f"{self.command} --again {cell.name}/{last}",
            commit=self.commit,
        )


def cells_of(study: Study, experiments: Iterable[Experiment]) -> list[Cell]:
    """Return the cells of some experiments, each once."""
    return list({cell.name: cell for one in experiments for cell in study.cells_of(one)}.values())


def missing(jobs: Iterable[Job], folder: Path, again: Iterable[str] = ()) -> list[Job]:
    """Return the jobs whose results are not there, and those wanted `again` (CELL/seed-1, or CELL)."""
    wanted = tuple(again)
    return [
        job
        for job in jobs
        if job.found(folder) is None or any(f"/{one}/" in f"/{job.name}/" for one in wanted)
    ]


def _named(choice: Mapping[str, Any]) -> str:
    return "-".join(word(value) for value in choice.values())
