"""A whole run by `murmur run`, written down: what it said, round by round, and its curve."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.curve import draw
from benchmarks.processes import processor_seconds
from benchmarks.report import conditions, table
from cli.composing import config_of_run
from privacy import Epsilon, epsilon, epsilon_text, ledger_releases, read_ledger

HERE = Path(__file__).resolve().parent
OF_THIS_MACHINE = ("run folder", "try:", "runs on", "ledger of all", "all runs on")
"""How a summary's lines with paths begin."""


def record(name: str, title: str, *, recipe: str, nodes: int, settings: Sequence[str] = ()) -> None:
    """Run recipes/`recipe`.toml and write benchmarks/`name`.md and .png, without paths of this machine."""
    command = ["--nodes", str(nodes), "--recipe", str(HERE.parent / "recipes" / "run" / f"{recipe}.toml")]
    with tempfile.TemporaryDirectory() as place:
        run = Run.of([*command, *(word for each in settings for word in ("--set", each))], Path(place))
    said = f"{conditions()}\n- `murmur run --recipe recipes/{recipe}.toml --nodes {nodes}`"
    write(name, title, [said, *run.parts(name)], run)


def write(name: str, title: str, parts: Sequence[str], run: Run) -> None:
    """Write the page of `parts`, and the curve of `run`."""
    (HERE / f"{name}.md").write_text("\n\n".join([f"# {title}", *parts]) + "\n", encoding="utf-8")
    draw(run.metrics, HERE / f"{name}.png", title)
    print(f"written: {HERE / name}.md")


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a run left, and what its command took, from its start to its end."""

    metrics: list[dict[str, Any]]
    traffic: list[dict[str, Any]]
    summary: str
    corpus: str
    epsilon: Epsilon
    wall_seconds: float
    processor_seconds: float

    @classmethod
    def of(cls, arguments: Sequence[str], place: Path) -> Run:
        """`murmur run` with `arguments`, in a fresh runs folder `place`: the ledger holds this run alone."""
        wall_seconds, used = _timed([*arguments, "--set", f'run.folder="{place}"'])
        folder = (place / "latest").resolve()
        config = config_of_run(folder)
        return cls(
            metrics=_lines(folder / "metrics.jsonl"),
            traffic=_lines(folder / "traffic.jsonl"),
            summary=(folder / "summary.txt").read_text(encoding="utf-8"),
            corpus=config.corpus.path,
            epsilon=epsilon(ledger_releases(read_ledger(folder / "ledger.jsonl")), config.privacy.delta),
            wall_seconds=wall_seconds,
            processor_seconds=used,
        )

    def parts(self, name: str) -> list[str]:
        """The curve, the run's own words and its rounds, as parts of a page."""
        return [f"![curve]({name}.png)", *self.words_and_rounds()]

    def words_and_rounds(self) -> list[str]:
        """The run's own words and its rounds, as parts of a page."""
        lines = self.summary.splitlines()
        words = "\n".join(line for line in lines if not line.startswith(OF_THIS_MACHINE))
        seconds = {line["round"]: f"{line['seconds']:.1f}" for line in self.traffic if "seconds" in line}
        rows = [(*_row(line), seconds.get(line["round"], "")) for line in self.metrics]
        titles = ("round", "loss", "WER %", "CER %", "epsilon (RDP)", "seconds")
        return [f"```\n{words.strip()}\n```", table([titles, *rows])]


def run_in(arguments: Sequence[str], place: Path) -> Path:
    """`murmur run` with `arguments`, in a fresh runs folder `place`; return the run folder."""
    _timed([*arguments, "--set", f'run.folder="{place}"'])
    return (place / "latest").resolve()


def _timed(arguments: Sequence[str]) -> tuple[float, float]:
    """Wall-clock seconds of `murmur run`, and the processor's, as they were when it was last looked at."""
    command, began, used = (
        [Path(sys.executable).with_name("murmur"), "run", *arguments],
        time.monotonic(),
        0.0,
    )
    with subprocess.Popen(command) as process:
        while process.poll() is None:
            used = max(used, processor_seconds(process.pid))
            time.sleep(1.0)
    if process.returncode:
        raise SystemExit(f"murmur run ended with {process.returncode}")
    return time.monotonic() - began, used


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _row(line: dict[str, Any]) -> tuple[str, ...]:
    evaluated = line["wer"] is not None
    return (
        str(line["round"]),
        f"{line['loss']:.3f}" if evaluated else "",
        f"{100 * line['wer']:.1f}" if evaluated else "",
        f"{100 * line['cer']:.1f}" if evaluated else "",
        epsilon_text(float(line["epsilon_rdp_this_run"]), 4),
    )
