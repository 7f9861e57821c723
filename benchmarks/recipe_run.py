"""A whole run of a recipe by `murmur run`, written down: what it said, round by round, and its curve."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.curve import draw
from benchmarks.report import conditions, table
from privacy import epsilon_text

HERE = Path(__file__).resolve().parent


def record(name: str, title: str, *, recipe: str, nodes: int, settings: Sequence[str] = ()) -> None:
    """Run recipes/`recipe`.toml and write benchmarks/`name`.md and .png, without paths of this machine."""
    with tempfile.TemporaryDirectory() as place:
        folder = _run(recipe, nodes, [*settings, f'run.folder="{place}"'], Path(place) / "latest")
        metrics, traffic = _lines(folder / "metrics.jsonl"), _lines(folder / "traffic.jsonl")
        summary = (folder / "summary.txt").read_text()
    lines = summary.splitlines()
    words = "\n".join(
        line for line in lines if not line.startswith(("run folder", "try:", "runs on", "ledger of all"))
    )
    seconds = {line["round"]: f"{line['seconds']:.1f}" for line in traffic if "seconds" in line}
    rows = [(*_row(line), seconds.get(line["round"], "")) for line in metrics]
    text = "\n\n".join(
        [
            f"# {title}",
            f"{conditions()}\n- `murmur run --recipe recipes/{recipe}.toml --nodes {nodes}`",
            f"![curve]({name}.png)",
            f"```\n{words.strip()}\n```",
            table([("round", "loss", "WER %", "CER %", "epsilon (RDP)", "seconds"), *rows]),
        ]
    )
    (HERE / f"{name}.md").write_text(text + "\n", encoding="utf-8")
    draw(metrics, HERE / f"{name}.png", title)
    print(f"written: {HERE / name}.md")


def _run(recipe: str, nodes: int, settings: Sequence[str], latest: Path) -> Path:
    """The run folder; the runs folder is fresh, so that the ledger holds this run alone."""
    command = [Path(sys.executable).with_name("murmur"), "run", "--nodes", str(nodes)]
    command += ["--recipe", HERE.parent / "recipes" / f"{recipe}.toml"]
    subprocess.run([*command, *(word for each in settings for word in ("--set", each))], check=True)
    return latest.resolve()


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _row(line: dict[str, Any]) -> tuple[str, ...]:
    heard = line["wer"] is not None
    return (
        str(line["round"]),
        f"{line['loss']:.3f}" if heard else "",
        f"{100 * line['wer']:.1f}" if heard else "",
        f"{100 * line['cer']:.1f}" if heard else "",
        epsilon_text(float(line["epsilon_rdp_this_run"]), 4),
    )
