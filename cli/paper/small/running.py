"""Makes the runs of some experiments that are not there yet: first those that tune, then the results.

Guarantee: each finished run is a whole file at once, so whenever this ends, the next call goes on from there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

from cli.paper.results.record import ResultError, read_result
from cli.paper.small.experiments import COHORT, Cell, Experiment
from cli.paper.small.jobs import Job, Jobs, cells_of, missing
from cli.progress import counted
from recipes import ConfigError

Make = Callable[[Job, float, Path, Path], Path]


@dataclass(frozen=True, kw_only=True)
class Running:
    """How runs are made: the jobs of a study, where results go, in how many processes, and who is told."""

    jobs: Jobs
    folder: Path
    processes: int = 1
    make: Make | None = None
    say: Callable[[str], None] = print

    def complete(self, experiments: Sequence[Experiment], again: Sequence[str] = ()) -> None:
        """Make what is missing for these experiments, and what is wanted again.

        Raises:
            ConfigError: If `again` names no run of them, or a cohort is larger than the population.
            Exception: What a run raises; the results of the others that were finished are there.
        """
        cells = cells_of(self.jobs.study, experiments)
        self._require_named(cells, again)
        with TemporaryDirectory(prefix="murmur-") as prepared:
            self._make_all(missing(self.jobs.tuning(cells), self.folder, again), Path(prepared))
            results = self.jobs.results(cells, self.folder)
            self._make_all(missing(results, self.folder, again), Path(prepared))

    def _require_named(self, cells: Iterable[Cell], again: Iterable[str]) -> None:
        runs = [f"{cell.name}/seed-{seed}" for cell in cells for seed in cell.seeds]
        runs += [job.name for job in self.jobs.tuning(cells)]
        for one in again:
            if not any(f"/{one}/" in f"/{run}/" for run in runs):
                raise ConfigError(f"--again {one}: no cell or run of these experiments has this name")

    def _make_all(self, jobs: Sequence[Job], prepared: Path) -> None:
        if jobs:
            self._prepare(jobs, prepared)
        made = counted(self._made(jobs, prepared), "runs", len(jobs)) if jobs else ()
        for number, path in enumerate(made, start=1):
            result = read_result(path)
            self.say(
                f"{number} of {len(jobs)}  {result.name}  WER {100 * result.wer.rate:.1f} %  "
                f"{result.seconds:.0f} s"
            )

    def _prepare(self, jobs: Sequence[Job], prepared: Path) -> None:
        """Write the speech and the start weights of all jobs: two processes must not write the same."""
        if self.make is not None:
            return
        from cli.paper.small.speech import population, prepare
        from cli.paper.small.starts import start_weights

        manifests = {
            (speakers, seed): prepare(self.jobs.source, speakers, seed, self.jobs.study.dev_share, prepared)
            for speakers, seed in sorted({(job.cell.speakers, job.seed) for job in jobs})
        }
        populations = {key: population(manifest) for key, manifest in manifests.items()}
        for job in jobs:
            _require_population(job, populations[job.cell.speakers, job.seed])
        for job in jobs:
            start_weights(job.cell, job.seed, prepared)

    def _made(self, jobs: Sequence[Job], prepared: Path) -> Iterator[Path]:
        share, folder = self.jobs.study.dev_share, self.folder
        if self.processes == 1:
            yield from (_run(self.make, job, share, prepared, folder) for job in jobs)
            return
        spawn = get_context("spawn")
        with ProcessPoolExecutor(self.processes, spawn, initializer=_end_with_the_parent) as pool:
            made: list[Future[Path]] = [
                pool.submit(_run, self.make, job, share, prepared, folder) for job in jobs
            ]
            try:
                yield from (one.result() for one in as_completed(made))
            except BrokenProcessPool:
                raise ResultError(
                    f"one of {self.processes} processes was ended, mostly for its memory: --processes 1 "
                    "needs the least; what is finished stays"
                ) from None
            finally:
                with suppress(RuntimeError):
                    pool.shutdown(wait=False, cancel_futures=True)


def _require_population(job: Job, population: int) -> None:
    cohort = job.cell.settings.get(COHORT, 0)
    if isinstance(cohort, int | float) and cohort > population:
        raise ConfigError(
            f"cell {job.cell.name}: {COHORT} = {cohort:g}, and the population of {job.source.name} is "
            f"{population} speakers; give --experiments a file with smaller cohorts, such as "
            "recipes/paper/small-real.toml"
        )


def _end_with_the_parent() -> None:
    """Let this process end when its parent has: else runs go on for minutes after their study was killed."""
    if (parent := parent_process()) is not None:
        Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def _run(make: Make | None, job: Job, share: float, prepared: Path, folder: Path) -> Path:
    """Make one run. It is imported here: torch takes a second, and a study may be complete."""
    if make is None:
        import torch

        from cli.paper.small.making import make as make_run

        torch.set_num_threads(1)  # a process for each core
        make = make_run
    return make(job, share, prepared, folder)


def commit() -> str:
    """The commit of this code, with "+changes" if files differ; of an installed package, its release."""
    import subprocess

    from base.release import release
    from recipes import checkout

    root = checkout()
    if root is None or not (root / ".git").exists():
        return f"release {release()}"

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs", ":!results")
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return f"release {release()}"
