"""docs/results.md: what the results say, written by the command from the files and the experiments alone.

Guarantee: every number of the page is computed from result files, and the number of a run links to its file.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from base.counts import count_of
from base.durable_file import replace_durably
from cli.paper.results.record import Result, ResultError
from cli.paper.results.statistics import Table, rate
from cli.paper.small.claims import answer, findings, pairs, together
from cli.paper.small.experiments import BASE, EMBEDDED, SMALL, Cell, Experiment, Study, word
from cli.paper.small.figures import Drawn, draw
from cli.paper.small.jobs import Jobs
from cli.paper.small.layers import NOISE_SHOWN, draw_layers, looked_into, smoother_is_better, smoothness_table
from cli.paper.small.speech import Source
from privacy.display import epsilon_text

HEADING = (
    "# Results",
    "`murmur paper small` writes this page from the files of its runs ([the schema](results_schema.md)); "
    "nothing here is typed by hand.",
    "- WER is in %, of all runs of a line together. Intervals are 95 %, by a bootstrap over speakers and "
    "seeds together; comparisons are paired:\n  the same test speakers, and in a seed the same population. "
    "Several comparisons together: the mean of their differences.\n"
    "- A claim was stated before the runs, in `recipes/paper/small.toml` or the file that a section names. "
    "It holds if the whole interval is where\n  it was expected, does not hold if none of it is, and is "
    "undecided otherwise.\n"
    "- Epsilon is the true one, of the run's own small population (RDP); at this size it protects nobody. "
    "`murmur paper board` has the extrapolated ones.",
)


class Book:
    """The page of a folder of results.

    Args:
        folder: The results.
        page: The file to write; figures go to the folder beside it that has its name.
    """

    def __init__(self, folder: Path, page: Path) -> None:
        self._folder, self._page = folder, page

    def write(self, studies: Sequence[Study]) -> None:
        """Write the page and its figures.

        Raises:
            ResultError: Without matplotlib.
        """
        parts = [*HEADING, *(part for study in studies for part in self._sections(study))]
        self._page.parent.mkdir(parents=True, exist_ok=True)
        replace_durably(self._page, ("\n\n".join(part.strip() for part in parts) + "\n").encode())

    def _sections(self, study: Study) -> Iterator[str]:
        """The parts of each corpus that has results at the study's size."""
        place = self._folder / study.name / study.size
        for data in sorted(one.name for one in place.iterdir()) if place.is_dir() else ():
            jobs = Jobs(study=study, source=Source(name=data))
            own = "" if study.name == SMALL.stem else f", {study.name}"
            yield f"## {data}, {study.size} size{own}"
            if own:
                yield f"{study.note} Settings and claims: `{study.file}`. Run again: `{jobs.command}`."
            shown = [one for one in study.experiments.values() if self._is_shown(study, jobs, one)]
            for section, experiments in groupby(shown, key=lambda one: one.section):
                those = list(experiments)
                if section:
                    yield f"## {section} ({data}, {study.size} size)"
                    yield from self._in_all(study, jobs, those)
                for experiment in those:
                    yield from self._experiment(study, jobs, experiment)

    def _is_shown(self, study: Study, jobs: Jobs, experiment: Experiment) -> bool:
        """Whether an experiment belongs to every book of its size, or somebody has asked for it."""
        if not experiment.on_request:
            return True
        usual = [one for one in study.experiments.values() if not one.on_request]
        others = {cell.name for one in usual for cell in study.cells_of(one)}
        own = [cell for cell in study.cells_of(experiment) if cell.name not in others]
        return any((self._folder / jobs.group(cell)).is_dir() for cell in own)

    def _in_all(self, study: Study, jobs: Jobs, experiments: Sequence[Experiment]) -> Iterator[str]:
        """What several experiments of a section say of the same claim, those that have all their runs."""
        verdicts: dict[str, list[str]] = {}
        compared: dict[str, list[tuple[Table, Table]]] = {}
        asked = Counter(claim.text for one in experiments for claim in one.claims)
        for experiment in experiments:
            cells = {cell.name: cell for cell in study.cells_of(experiment)}
            drawn = [one for cell in cells.values() if (one := self._drawn(jobs, cell)) is not None]
            tables = {one.cell.name: Table.of(one.results) for one in drawn}
            for claim in experiment.claims if len(drawn) == len(cells) else ():
                found = findings(claim, cells, tables)
                verdicts.setdefault(claim.text, []).extend(one.verdict for one in found)
                compared.setdefault(claim.text, []).extend(pairs(claim, cells, tables))
        for text, said in verdicts.items():
            if asked[text] > 1:
                counts = ", ".join(f"{number} {verdict}" for verdict, number in Counter(said).items())
                yield (
                    f"{text}, in all experiments of this section: **{counts}**, of {len(said)} "
                    f"comparisons{together(compared[text])}."
                )

    def _experiment(self, study: Study, jobs: Jobs, experiment: Experiment) -> Iterator[str]:
        cells = {cell.name: cell for cell in study.cells_of(experiment)}
        drawn = [one for cell in cells.values() if (one := self._drawn(jobs, cell)) is not None]
        yield f"### {experiment.title}"
        yield f"**Question.** {experiment.question}"
        command = f"`{jobs.command} {experiment.name}`"
        if len(drawn) < len(cells):
            yield f"{len(drawn)} of {len(cells)} cells have all their runs; {command} makes the others."
            return
        yield f"**Setting.** {experiment.setting} {_facts([run for one in drawn for run in one.results])}"
        yield self._table(drawn)
        own = () if study.name == SMALL.stem else (study.name,)
        stem = "-".join((*own, study.size, jobs.source.name, experiment.name))
        figure = self._page.with_suffix("") / f"{stem}.png"
        tables = {one.cell.name: Table.of(one.results) for one in drawn}
        found = {claim: findings(claim, cells, tables) for claim in experiment.claims}
        compared = [one for of_claim in found.values() for one in of_claim if not one.is_ratio]
        draw(drawn, experiment.x, figure, compared)
        yield f"![{experiment.title}]({self._link(figure)})"
        if inside := looked_into(drawn):
            yield from self._inside(experiment, inside, figure)
        answers = [answer(claim, found[claim], pairs(claim, cells, tables)) for claim in experiment.claims]
        yield "\n".join(["**Answer.**", "", *(f"- {one}" for one in answers)])
        yield f"Run again what is missing: {command}"

    def _inside(self, experiment: Experiment, cells: Sequence[Drawn], figure: Path) -> Iterator[str]:
        """What the runs of these cells show of their layers, and of the path of their models."""
        layers = figure.with_name(f"{figure.stem}-layers.png")
        draw_layers(cells, layers)
        yield (
            "The norms of updates before clipping, by kind of layer, and the norm of the mean update over "
            f"that of noise of {NOISE_SHOWN:g} C on the sum:"
        )
        yield f"![{experiment.title}: layers]({self._link(layers)})"
        yield (
            "s is the change of the mean update from one round to the next over that of the model (the probe "
            "of arXiv 2309.13102 along the server's path); a smoother path has a lower s:"
        )
        yield smoothness_table(cells)
        yield smoother_is_better(cells)

    def _drawn(self, jobs: Jobs, cell: Cell) -> Drawn | None:
        """A cell whose runs are all there."""
        try:
            wanted = jobs.results([cell], self._folder)
            results = [one for job in wanted if (one := job.found(self._folder)) is not None]
        except ResultError:
            return None
        if len(results) < len(wanted):
            return None
        return Drawn(cell=wanted[0].cell, wer=rate(Table.of(results)), results=tuple(results))

    def _table(self, drawn: Sequence[Drawn]) -> str:
        lines = [
            "| runs | chosen on dev | WER % | interval | by seed | epsilon |",
            "|---|---|---|---|---|---|",
        ]
        return "\n".join([*lines, *map(self._row, drawn)])

    def _row(self, one: Drawn) -> str:
        wer = one.wer.scaled(100)
        chosen = ", ".join(_choice(key, one.cell) for key in one.cell.tune)
        by_seed = " ".join(f"[{100 * run.wer.rate:.1f}]({self._of(run)})" for run in one.results)
        epsilon = epsilon_text(max(run.privacy.epsilon for run in one.results))
        interval = f"{wer.low:.1f} to {wer.high:.1f}"
        return f"| {one.cell.name} | {chosen or '-'} | {wer.value:.1f} | {interval} | {by_seed} | {epsilon} |"

    def _of(self, run: Result) -> str:
        return self._link(self._folder / f"{run.name}.json")

    def _link(self, path: Path) -> str:
        return Path(os.path.relpath(path.absolute(), self._page.parent.absolute())).as_posix()


def _choice(key: str, cell: Cell) -> str:
    """A setting that was chosen on dev; at an end of its grid, a better one may lie beyond."""
    value, grid = cell.settings[key], cell.tune[key]
    return f"{key} = {word(value)}" + (" (an end of its grid)" if value in (grid[0], grid[-1]) else "")


def _facts(runs: Sequence[Result]) -> str:
    """What the runs themselves say of their size, cost and code."""
    first, seconds = runs[0], sum(one.seconds for one in runs)
    commits = ", ".join(dict.fromkeys(one.commit for one in runs))
    return (
        f"{count_of(len(runs), 'run')} of {seconds / len(runs):.0f} s on average; model {first.model.name} "
        f"with {first.model.parameters:,} parameters, a population of {first.population} speakers, "
        f"{len(first.wer.by_speaker)} test speakers with {first.wer.words:,} words{_before(runs)}; "
        f"commit {commits}."
    )


def _before(runs: Sequence[Result]) -> str:
    """The error rate of the seed model before any round, where runs started from it."""
    starts = [run.curve[0] for run in runs if run.model.start in (EMBEDDED, BASE) and run.curve]
    rates = [rate for line in starts if line.get("round") == 0 and isinstance(rate := line.get("wer"), float)]
    return f", on which the seed model has {100 * rates[0]:.1f} % before any round" if rates else ""
